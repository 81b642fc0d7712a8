import { wrongKind } from '../../base/check';
import { CodedError } from '../../base/error';
import type { Embedding } from '../../nn/embedding';
import type { LayerNorm } from '../../nn/layer_norm';
import type { Mode } from '../../nn/module';
import type { Transformer } from '../../nn/transformer';
import { add, argmax, cast, concat, embedding, gatherRows, matmul, slice } from '../../ops';
import { scope } from '../../tensor/scope';
import { type Device, describe, Tensor, tensor } from '../../tensor/tensor';
import { type ComputeDtype, inDtype } from '../dtype';
import { groupByLength } from './text_groups';
import type { Tokens } from './tokenizer';

/** Token ids [K, length], as the tokenizer returns them or as an int32 or int64 tensor. */
export type TextInput = Tokens | Tensor;

/** The parts of CLIP's text transformer (Radford et al., 2021, section 2.4), which lie at the root of a state dict. */
export interface TextTower {
  /** [vocabulary, D] */
  readonly token_embedding: Embedding;
  /** [context, D] */
  readonly positional_embedding: Tensor;
  readonly transformer: Transformer;
  readonly ln_final: LayerNorm;
  /** [D, E] */
  readonly text_projection: Tensor;
}

/** Texts on a device, of one length: cut to the longest. */
interface Texts {
  /** int [K, L] */
  ids: Tensor;
  /** int [K], where each text ends */
  end: Tensor;
}

/**
 * Features of texts: the transformer's output at the end token (the largest id), normalised and projected. What stands
 * after the end tokens is hardly computed (texts of like lengths are filled up together) and never read: attention is causal, so
 * nothing depends on it. For the same reason the last block works on the end tokens alone once its attention is done.
 *
 * @param whole the last block computes every token up to the longest text's end, for who looks at what the mode traces
 * @returns [K, E] in `dtype`
 * @throws ERR_SHAPE, ERR_TEXT_TOO_LONG; ERR_INDEX_RANGE (when read) for ids outside the vocabulary
 */
export function encodeText(
  tower: TextTower,
  tokens: TextInput,
  dtype: ComputeDtype,
  mode: Mode,
  whole = false,
): Tensor {
  return scope(() => {
    checkTokens(tokens, tower.positional_embedding.dim(0));
    if (tokens instanceof Tensor) return encodeEven(tower, onDevice(tokens), dtype, mode, whole);
    const { device } = tower.positional_embedding;
    const lengths = lengthsOf(tokens);
    // A GPU needs many rows at once, and who looks on sees all texts together.
    const together = whole || mode.trace || device !== 'cpu';
    const groups = together ? [[...lengths.keys()]] : groupByLength(lengths);
    const features = groups.map((group) =>
      scope(() => encodeEven(tower, upload(tokens, lengths, group, device), dtype, mode, whole)),
    );
    if (features.length === 1) return features[0]!;
    const places = new Int32Array(lengths.length);
    for (const [place, text] of groups.flat().entries()) places[text] = place;
    return embedding(tensor(places, [places.length], { device }), concat(features));
  });
}

function encodeEven(
  tower: TextTower,
  { ids, end }: Texts,
  dtype: ComputeDtype,
  mode: Mode,
  whole: boolean,
): Tensor {
  const position = slice(tower.positional_embedding, 0, 0, ids.dim(1));
  let x = inDtype(add(tower.token_embedding.forward(ids), position), dtype);
  mode.trace?.('text.embedding', x);
  const ends = (rows: Tensor) => gatherRows(rows, end);
  const blocks = tower.transformer.resblocks;
  for (const [i, block] of blocks.entries()) {
    x = block.forward(x, { causal: true, select: i < blocks.length - 1 || whole ? undefined : ends });
    mode.trace?.(`text.block${i}.out`, x);
  }
  if (whole) x = ends(x);
  const normed = tower.ln_final.forward(x);
  mode.trace?.('text.ln_final', normed);
  return matmul(normed, inDtype(tower.text_projection, dtype));
}

function checkTokens(tokens: TextInput, context: number): void {
  if (!(tokens instanceof Tensor) && !(tokens?.ids instanceof Int32Array && Array.isArray(tokens.shape)))
    throw wrongKind('encodeText', 'tokens', 'what tokenize() returns, or a tensor', tokens);
  const { shape } = tokens;
  if (shape.length !== 2 || shape[0] === 0 || shape[1] === 0) {
    const what = tokens instanceof Tensor ? describe(tokens) : `[${shape}]`;
    throw new CodedError('ERR_SHAPE', `tokens must be [K, ${context}] with at least one text, got ${what}`);
  }
  if (shape[1]! > context) {
    throw new CodedError(
      'ERR_TEXT_TOO_LONG',
      `texts of ${shape[1]} tokens do not fit the model's context of ${context}`,
    );
  }
}

function onDevice(ids: Tensor): Texts {
  if (ids.dtype !== 'int32' && ids.dtype !== 'int64')
    throw new CodedError('ERR_DTYPE', `encodeText: tokens must be int32 or int64, got ${describe(ids)}`);
  return { ids, end: argmax(cast(ids, 'float32'), 1) };
}

/** Tokens of each text up to its end token. */
function lengthsOf({ ids, shape: [count, width] }: Tokens): Int32Array {
  if (ids.length !== count * width) {
    throw new CodedError('ERR_SHAPE', `${ids.length} token ids do not fill [${count},${width}]`);
  }
  return Int32Array.from({ length: count }, (_, k) => {
    const row = ids.subarray(k * width, (k + 1) * width);
    return row.indexOf(Math.max(...row)) + 1;
  });
}

function upload(
  { ids, shape }: Tokens,
  lengths: Int32Array,
  group: readonly number[],
  device: Device,
): Texts {
  const ends = Int32Array.from(group, (text) => lengths[text]! - 1);
  const length = Math.max(...ends) + 1;
  const cut = new Int32Array(group.length * length);
  for (const [k, text] of group.entries()) {
    const start = text * shape[1];
    cut.set(ids.subarray(start, start + length), k * length);
  }
  return {
    ids: tensor(cut, [group.length, length], { device }),
    end: tensor(ends, [ends.length], { device }),
  };
}
