import { checkInstance, checkKnownOptions, checkText } from '../../base/check';
import { CodedError } from '../../base/error';
import { type RawTensor, readCheckpoint } from '../../io';
import { archOf } from '../zoo';
import { checkGeometry, type Geometry, inferGeometry, inferPretrainedGeometry } from './geometry';
import { mapHuggingFace } from './huggingface';
import { XCLIP } from './xclip';

/** Facts that image-text archives keep among their weights. */
const FACTS = new Set(['input_resolution', 'context_length', 'vocab_size']);

interface OpenState {
  /** Official names; tensors are fetched until `close`. */
  state: Map<string, RawTensor>;
  close(): Promise<void>;
}

/** An open checkpoint of an X-CLIP model. */
export interface XclipWeights extends OpenState {
  geometry: Geometry;
}

/**
 * Opens an X-CLIP checkpoint of any format and derives the model from it.
 *
 * @throws ERR_CHECKPOINT_MISMATCH for weights of another model, and what `readCheckpoint` throws
 */
export async function openWeights(path: string): Promise<XclipWeights> {
  const open = await openState(path);
  try {
    return { ...open, geometry: inferGeometry(open.state, path) };
  } catch (error) {
    await open.close();
    throw error;
  }
}

/**
 * Starts a model from weights trained before: those of an image-text model (CLIP's TorchScript archives `ViT-*.pt`, or
 * its state dict in any format), where the parts that they lack keep their initial values, or those of an X-CLIP model
 * of the same geometry.
 *
 * @returns names of the parameters that kept their values
 * @throws ERR_CHECKPOINT_MISMATCH when the architecture differs (patch, resolution, widths, layers, frames), before
 *   anything is changed; what `readCheckpoint` throws; ERR_ABORTED
 *
 * @example
 * const model = new XCLIP(geometry, { seed: 1 });
 * await loadPretrained(model, 'ViT-B-32.pt');
 */
export async function loadPretrained(
  model: XCLIP,
  path: string,
  options: { signal?: AbortSignal } = {},
): Promise<string[]> {
  checkInstance('loadPretrained', 'model', model, XCLIP);
  checkText('loadPretrained', 'path', path);
  checkKnownOptions('loadPretrained', options, { signal: true });
  const { state, close } = await openState(path);
  try {
    const { geometry } = model;
    const wanted = { ...geometry, arch: archOf(geometry) };
    const complete = state.has('mit.positional_embedding');
    const { mitLayers, promptLayers, frames } = geometry;
    const found = complete
      ? inferGeometry(state, path)
      : { ...inferPretrainedGeometry(state, path, frames), mitLayers, promptLayers };
    checkGeometry({ ...found, arch: archOf(found) }, wanted, path);
    const { missing } = await model.loadStateDict(state, { strict: complete, source: path, ...options });
    return missing;
  } finally {
    await close();
  }
}

async function openState(path: string): Promise<OpenState> {
  const checkpoint = await readCheckpoint(path);
  try {
    const state =
      checkpoint.format === 'huggingface'
        ? mapHuggingFace(checkpoint.stateDict, checkpoint.config, path)
        : withoutWrapper(checkpoint.stateDict, path);
    for (const name of FACTS) state.delete(name);
    return { state, close: () => checkpoint.close() };
  } catch (error) {
    await checkpoint.close();
    throw error;
  }
}

/**
 * Names without the `module.` that wrappers for parallel training put before those of what they wrap, which need not be
 * the whole model.
 *
 * @throws ERR_CHECKPOINT_MISMATCH when a weight is there under both names, as nothing says which one counts
 */
function withoutWrapper(state: ReadonlyMap<string, RawTensor>, path: string): Map<string, RawTensor> {
  const plain = new Map<string, RawTensor>();
  for (const [name, raw] of state) {
    const own = name.replace(/^module\./, '');
    if (plain.has(own)) {
      throw new CodedError('ERR_CHECKPOINT_MISMATCH', `${path} has both ${own} and module.${own}`);
    }
    plain.set(own, raw);
  }
  return plain;
}
