import type { Geometry } from './geometry';

/** Shapes of tensors by name. */
export type Shapes = Map<string, readonly number[]>;

/**
 * Name and shape of every parameter of a model, names and order as in official checkpoints. Linear weights are [out, in],
 * the projections without `.weight` are [in, out].
 */
export function parameterShapes(g: Geometry): Shapes {
  return new Map<string, readonly number[]>([
    ['positional_embedding', [g.contextLength, g.textWidth]],
    ['text_projection', [g.textWidth, g.embedDim]],
    ['logit_scale', []],
    ['prompts_visual_proj', [g.visionWidth, g.embedDim]],
    ...promptGenerator(g),
    ['mit.positional_embedding', [1, g.frames, g.embedDim]],
    ...layers('mit.resblocks', g.mitLayers, (prefix) => block(prefix, g.embedDim)),
    ...visionShapes(g),
    ...layers('transformer.resblocks', g.textLayers, (prefix) => block(prefix, g.textWidth)),
    ['token_embedding.weight', [g.vocabSize, g.textWidth]],
    ...norm('ln_final', g.textWidth),
    ...norm('prompts_visual_ln', g.visionWidth),
  ]);
}

/** True for the parameters that an image-text checkpoint does not have. */
export function isVideoParameter(name: string): boolean {
  return name.startsWith('mit.') || name.startsWith('prompts_') || name.includes('.message_');
}

type Shape = [name: string, shape: readonly number[]];

function visionShapes(g: Geometry): Shape[] {
  const patches = (g.imageSize / g.patch) ** 2;
  return [
    ['visual.class_embedding', [g.visionWidth]],
    ['visual.positional_embedding', [patches + 1, g.visionWidth]],
    ['visual.proj', [g.visionWidth, g.embedDim]],
    ['visual.conv1.weight', [g.visionWidth, 3, g.patch, g.patch]],
    ...norm('visual.ln_pre', g.visionWidth),
    ...layers('visual.transformer.resblocks', g.visionLayers, (prefix) => [
      ...linear(`${prefix}.message_fc`, g.visionWidth, g.visionWidth),
      ...norm(`${prefix}.message_ln`, g.visionWidth),
      ...attention(`${prefix}.message_attn`, g.visionWidth),
      ...block(prefix, g.visionWidth),
    ]),
    ...norm('visual.ln_post', g.visionWidth),
  ];
}

function promptGenerator(g: Geometry): Shape[] {
  const width = g.embedDim;
  return [
    ['prompts_generator.alpha', [width]],
    ...norm('prompts_generator.norm', width),
    ...layers('prompts_generator.decoder', g.promptLayers, (prefix) => [
      [`${prefix}.cross_attn.q_proj.weight`, [width, width]],
      [`${prefix}.cross_attn.k_proj.weight`, [width, width]],
      [`${prefix}.cross_attn.v_proj.weight`, [width, width]],
      ...linear(`${prefix}.cross_attn.proj`, width, width),
      ...norm(`${prefix}.norm1`, width),
      ...norm(`${prefix}.norm3`, width),
      ...linear(`${prefix}.mlp.0`, 4 * width, width),
      ...linear(`${prefix}.mlp.3`, width, 4 * width),
    ]),
  ];
}

/** One pre-norm transformer block. */
function block(prefix: string, width: number): Shape[] {
  return [
    ...attention(`${prefix}.attn`, width),
    ...norm(`${prefix}.ln_1`, width),
    ...linear(`${prefix}.mlp.c_fc`, 4 * width, width),
    ...linear(`${prefix}.mlp.c_proj`, width, 4 * width),
    ...norm(`${prefix}.ln_2`, width),
  ];
}

function attention(prefix: string, width: number): Shape[] {
  return [
    [`${prefix}.in_proj_weight`, [3 * width, width]],
    [`${prefix}.in_proj_bias`, [3 * width]],
    ...linear(`${prefix}.out_proj`, width, width),
  ];
}

function linear(prefix: string, outputs: number, inputs: number): Shape[] {
  return [
    [`${prefix}.weight`, [outputs, inputs]],
    [`${prefix}.bias`, [outputs]],
  ];
}

function norm(prefix: string, width: number): Shape[] {
  return [
    [`${prefix}.weight`, [width]],
    [`${prefix}.bias`, [width]],
  ];
}

function layers(prefix: string, count: number, shapes: (prefix: string) => Shape[]): Shape[] {
  return Array.from({ length: count }, (_, i) => shapes(`${prefix}.${i}`)).flat();
}
