import type { Geometry } from './geometry';
import { parameterShapes } from './parameters';

/** Numbers of parameters. */
export interface ParameterCount {
  total: number;
  /** What is trained when MODEL.FIX_TEXT is on: all but the text tower and the logit scale. */
  trainableWithFixedText: number;
  byModule: Record<ParameterModule, number>;
}

export type ParameterModule =
  | 'vision'
  | 'message'
  | 'mit'
  | 'promptGenerator'
  | 'promptProjection'
  | 'textTransformer'
  | 'tokenEmbedding'
  | 'textPositions'
  | 'textProjection'
  | 'logitScale';

/** First match counts: which module a parameter belongs to. */
const MODULES: [pattern: RegExp, module: ParameterModule][] = [
  [/\.message_/, 'message'],
  [/^visual\./, 'vision'],
  [/^mit\./, 'mit'],
  [/^prompts_generator\./, 'promptGenerator'],
  [/^prompts_visual_/, 'promptProjection'],
  [/^transformer\./, 'textTransformer'],
  [/^token_embedding\./, 'tokenEmbedding'],
  [/^positional_embedding$/, 'textPositions'],
  [/^(ln_final\.|text_projection$)/, 'textProjection'],
  [/^logit_scale$/, 'logitScale'],
];
const TEXT_SIDE: ParameterModule[] = [
  'textTransformer',
  'tokenEmbedding',
  'textPositions',
  'textProjection',
  'logitScale',
];

/**
 * Counts a model's parameters.
 *
 * @example
 * countParameters({ arch: 'ViT-B/32', frames: 8, ...ZOO['ViT-B/32'] }).total; // 196585729
 */
export function countParameters(geometry: Geometry): ParameterCount {
  const byModule = Object.fromEntries(MODULES.map(([, module]) => [module, 0])) as Record<
    ParameterModule,
    number
  >;
  for (const [name, shape] of parameterShapes(geometry)) {
    const [, module] = MODULES.find(([pattern]) => pattern.test(name))!;
    byModule[module] += shape.reduce((product, extent) => product * extent, 1);
  }
  const sum = (modules: ParameterModule[]) => modules.reduce((total, module) => total + byModule[module], 0);
  const total = sum(MODULES.map(([, module]) => module));
  return { total, trainableWithFixedText: total - sum(TEXT_SIDE), byModule };
}

/** Multiply-accumulates of one video (one view) by part. */
export interface OperationCount {
  /** All but the text tower, whose features are computed once and kept: the published "GFLOPs" times 1e9. */
  video: number;
  /** The text tower, for all classes. */
  text: number;
  /** Both, part by part; names of text parts begin with `text.`. */
  parts: Record<string, number>;
}

/**
 * Counts the multiply-accumulates of matrix products: convolution, projections, attention scores and sums, MLPs,
 * similarity. Biases, norms, activations and additions do not count. One multiply-accumulate is two operations. This
 * is the cost of the published formulation; what an implementation saves by algebra is not subtracted.
 *
 * @param classes number of class names, K
 */
export function countOperations(g: Geometry, classes: number): OperationCount {
  const T = g.frames;
  const N = (g.imageSize / g.patch) ** 2;
  // A frame attends over its patches, its class token and its message; the message leaves before the MLP.
  const L = N + 1;
  const D = g.visionWidth;
  const E = g.embedDim;
  const W = g.textWidth;
  const texts = classes * g.contextLength;
  const parts = {
    'vision.patchEmbedding': T * N * D * 3 * g.patch ** 2,
    'vision.messageFc': g.visionLayers * T * D * D,
    'vision.messageAttention.projections': g.visionLayers * T * 4 * D * D,
    'vision.messageAttention.products': g.visionLayers * 2 * T * T * D,
    'vision.attention.projections': g.visionLayers * T * (L + 1) * 4 * D * D,
    'vision.attention.products': g.visionLayers * T * 2 * (L + 1) ** 2 * D,
    'vision.mlp': g.visionLayers * T * L * 8 * D * D,
    'vision.classProjection': T * D * E,
    'prompts.patchProjection': T * N * D * E,
    'mit.projections': g.mitLayers * T * 4 * E * E,
    'mit.products': g.mitLayers * 2 * T * T * E,
    'mit.mlp': g.mitLayers * T * 8 * E * E,
    'prompts.queryAndOutput': g.promptLayers * classes * 2 * E * E,
    'prompts.keyAndValue': g.promptLayers * N * 2 * E * E,
    'prompts.products': g.promptLayers * 2 * classes * N * E,
    'prompts.mlp': g.promptLayers * classes * 8 * E * E,
    similarity: classes * E,
    'text.attention.projections': g.textLayers * texts * 4 * W * W,
    'text.attention.products': g.textLayers * texts * 2 * g.contextLength * W,
    'text.mlp': g.textLayers * texts * 8 * W * W,
    'text.projection': classes * W * E,
  };
  const sum = (isText: boolean) =>
    Object.entries(parts).reduce(
      (total, [name, count]) => total + (name.startsWith('text.') === isText ? count : 0),
      0,
    );
  return { video: sum(false), text: sum(true), parts };
}
