import { CodedError } from '../../base/error';
import { DTYPE_SIZE } from '../../io/dtype';
import { RawTensor } from '../../io/raw_tensor';
import { type Geometry, inferGeometry } from './geometry';

/** Where a tensor of a Hugging Face model goes. */
export interface NameMapping {
  /** Name in official checkpoints. */
  name: string;
  /** `part` is the third (0 query, 1 key, 2 value) of a packed projection. */
  how: 'copy' | 'transpose' | { part: 0 | 1 | 2 };
}

/** Names outside the layers, without `.weight` and `.bias` of norms. */
const NAMES: Record<string, string> = {
  logit_scale: 'logit_scale',
  'visual_projection.weight': 'visual.proj',
  'text_projection.weight': 'text_projection',
  prompts_visual_projection: 'prompts_visual_proj',
  prompts_visual_layernorm: 'prompts_visual_ln',
  'text_model.embeddings.token_embedding.weight': 'token_embedding.weight',
  'text_model.embeddings.position_embedding.weight': 'positional_embedding',
  'text_model.final_layer_norm': 'ln_final',
  'vision_model.embeddings.class_embedding': 'visual.class_embedding',
  'vision_model.embeddings.patch_embedding.weight': 'visual.conv1.weight',
  'vision_model.embeddings.position_embedding.weight': 'visual.positional_embedding',
  'vision_model.pre_layernorm': 'visual.ln_pre',
  'vision_model.post_layernorm': 'visual.ln_post',
  'mit.position_embedding': 'mit.positional_embedding',
  'prompts_generator.layernorm': 'prompts_generator.norm',
};
/** Kept as linear layers there, as matrices [in, out] here. */
const TRANSPOSED = ['visual_projection.weight', 'text_projection.weight'];
const STACKS: Record<string, string> = {
  'text_model.encoder.layers': 'transformer.resblocks',
  'vision_model.encoder.layers': 'visual.transformer.resblocks',
  'mit.encoder.layers': 'mit.resblocks',
};
const LAYER_PARTS: Record<string, string> = {
  self_attn: 'attn',
  layer_norm1: 'ln_1',
  layer_norm2: 'ln_2',
  'mlp.fc1': 'mlp.c_fc',
  'mlp.fc2': 'mlp.c_proj',
};

/** Where the tensor `name` of a Hugging Face model goes; undefined for a name that is not in such a model. */
export function mapName(name: string): NameMapping | undefined {
  const plain = NAMES[name];
  if (plain !== undefined) return { name: plain, how: TRANSPOSED.includes(name) ? 'transpose' : 'copy' };
  if (/^prompts_generator\.(alpha$|decoder\.\d+\.)/.test(name)) return { name, how: 'copy' };
  const [, stem, kind] = /^(.*)\.(weight|bias)$/.exec(name) ?? [];
  if (stem === undefined) return undefined;
  if (NAMES[stem] !== undefined) return { name: `${NAMES[stem]}.${kind}`, how: 'copy' };
  const [, stack, index, rest] = /^(.*\.layers)\.(\d+)\.(.+)$/.exec(stem) ?? [];
  if (stack === undefined || STACKS[stack] === undefined) return undefined;
  const layer = `${STACKS[stack]}.${index}`;
  const packed = /^(self_attn|message_attn)\.([qkv])_proj$/.exec(rest!);
  if (packed) {
    const attention = LAYER_PARTS[packed[1]!] ?? packed[1];
    return {
      name: `${layer}.${attention}.in_proj_${kind}`,
      how: { part: 'qkv'.indexOf(packed[2]!) as 0 | 1 | 2 },
    };
  }
  const part = LAYER_PARTS[rest!] ?? rest!.replace(/^self_attn\./, 'attn.');
  return { name: `${layer}.${part}.${kind}`, how: 'copy' };
}

/**
 * Converts the weights of a Hugging Face X-CLIP folder to an official state dict, of whatever dtype they are. Bytes are
 * fetched and rearranged only when a tensor is read.
 *
 * @param tensors as in the folder; integer `position_ids` of old exports are left out
 * @param config its config.json, which must describe the same model. Head counts of the integration transformer and
 *   the prompt generator are not compared: exports of large models carry a wrong default there.
 * @param source names the folder in messages
 * @throws ERR_CHECKPOINT_MISMATCH for unknown, missing or contradicting tensors and settings
 */
export function mapHuggingFace(
  tensors: ReadonlyMap<string, RawTensor>,
  config: Record<string, unknown> = {},
  source = 'checkpoint',
): Map<string, RawTensor> {
  const stateDict = new Map<string, RawTensor>();
  const packed = new Map<string, (RawTensor | undefined)[]>();
  for (const [name, tensor] of tensors) {
    if (name.endsWith('.position_ids')) continue;
    const mapping = mapName(name);
    if (mapping === undefined) refuse(source, `tensor ${name} belongs to no part of the model`);
    if (mapping.how === 'copy') stateDict.set(mapping.name, tensor);
    else if (mapping.how === 'transpose') stateDict.set(mapping.name, transpose(tensor, name, source));
    else {
      const parts = packed.get(mapping.name) ?? [undefined, undefined, undefined];
      parts[mapping.how.part] = tensor;
      packed.set(mapping.name, parts);
    }
  }
  for (const [name, parts] of packed) stateDict.set(name, joinRows(parts, name, source));
  checkConfig(config, inferGeometry(stateDict, source), source);
  return stateDict;
}

function transpose(tensor: RawTensor, name: string, source: string): RawTensor {
  const [rows, columns] = tensor.shape;
  if (rows === undefined || columns === undefined || tensor.shape.length !== 2) {
    refuse(source, `tensor ${name} has shape [${tensor.shape}], expected two extents`);
  }
  return new RawTensor(tensor.dtype, [columns, rows], async () => {
    const size = DTYPE_SIZE[tensor.dtype];
    const from = await tensor.data();
    const to = new Uint8Array(from.length);
    for (let row = 0; row < rows; row++) {
      for (let column = 0; column < columns; column++) {
        const start = (row * columns + column) * size;
        const target = (column * rows + row) * size;
        for (let byte = 0; byte < size; byte++) to[target + byte] = from[start + byte]!;
      }
    }
    return to;
  });
}

/** Query, key and value below each other. */
function joinRows(parts: (RawTensor | undefined)[], name: string, source: string): RawTensor {
  const missing = parts.indexOf(undefined);
  if (missing >= 0) refuse(source, `lacks the ${['query', 'key', 'value'][missing]} projection of ${name}`);
  const whole = parts as RawTensor[];
  const first = whole[0]!;
  if (whole.some(({ dtype, shape }) => dtype !== first.dtype || String(shape) !== String(first.shape))) {
    const shapes = whole.map(({ dtype, shape }) => `${dtype} [${shape}]`).join(', ');
    refuse(source, `query, key and value of ${name} differ: ${shapes}`);
  }
  const shape = [3 * (first.shape[0] ?? 0), ...first.shape.slice(1)];
  return new RawTensor(first.dtype, shape, async () =>
    Uint8Array.from(Buffer.concat(await Promise.all(whole.map((part) => part.data())))),
  );
}

/** Compares what config.json says with what the tensors show. What it leaves out is not compared. */
function checkConfig(config: Record<string, unknown>, g: Geometry, source: string): void {
  const expected: Record<string, unknown> = {
    model_type: 'xclip',
    projection_dim: g.embedDim,
    prompt_layers: g.promptLayers,
    prompt_hidden_act: 'quick_gelu',
    'text_config.hidden_size': g.textWidth,
    'text_config.intermediate_size': 4 * g.textWidth,
    'text_config.num_attention_heads': g.textHeads,
    'text_config.num_hidden_layers': g.textLayers,
    'text_config.max_position_embeddings': g.contextLength,
    'text_config.vocab_size': g.vocabSize,
    'text_config.hidden_act': 'quick_gelu',
    'text_config.layer_norm_eps': 1e-5,
    'vision_config.hidden_size': g.visionWidth,
    'vision_config.intermediate_size': 4 * g.visionWidth,
    'vision_config.num_attention_heads': g.visionHeads,
    'vision_config.num_hidden_layers': g.visionLayers,
    'vision_config.num_frames': g.frames,
    'vision_config.image_size': g.imageSize,
    'vision_config.patch_size': g.patch,
    'vision_config.mit_hidden_size': g.embedDim,
    'vision_config.mit_num_hidden_layers': g.mitLayers,
    'vision_config.hidden_act': 'quick_gelu',
    'vision_config.layer_norm_eps': 1e-5,
  };
  for (const [key, value] of Object.entries(expected)) {
    const said = key
      .split('.')
      .reduce<unknown>((at, part) => (at as Record<string, unknown> | undefined)?.[part], config);
    if (said !== undefined && said !== value) {
      refuse(
        source,
        `config.json says ${key} ${JSON.stringify(said)}, but the tensors and this model have ${value}`,
      );
    }
  }
}

function refuse(source: string, problem: string): never {
  throw new CodedError('ERR_CHECKPOINT_MISMATCH', `${source}: ${problem}`);
}
