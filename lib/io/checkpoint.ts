import { stat } from 'node:fs/promises';
import { checkText } from '../base/check';
import { CodedError } from '../base/error';
import { FileBytes, readError } from './file_bytes';
import { readHuggingFace } from './huggingface';
import { type PyValue, toPlain } from './pickle_value';
import type { RawTensor } from './raw_tensor';
import { readSafetensors } from './safetensors';
import { findStateDict, moduleStateDict } from './state_dict';
import { readTorchLegacy } from './torch_legacy';
import { readTorchZip } from './torch_zip_reader';

export type CheckpointFormat = 'torch' | 'torch-legacy' | 'torchscript' | 'safetensors' | 'huggingface';

/** What {@link readCheckpoint} found. */
interface Contents {
  readonly format: CheckpointFormat;
  readonly value: PyValue;
  readonly stateDict: Map<string, RawTensor> | undefined;
  readonly config?: Record<string, unknown>;
  readonly metadata?: Map<string, string>;
}

/**
 * An open checkpoint. Tensors fetch their bytes from the file when asked, so keep it open while they are used and
 * `close()` it then (or write `await using checkpoint = await readCheckpoint(path)`).
 */
export class Checkpoint {
  readonly path: string;
  readonly format: CheckpointFormat;
  /** Everything in the file, as pickle_value.ts describes; for safetensors and Hugging Face the state dict. */
  readonly value: PyValue;
  /** The weights, names as in the file. */
  readonly stateDict: Map<string, RawTensor>;
  /** The `config` of a training checkpoint, or config.json of a Hugging Face folder, as plain data. */
  readonly config?: Record<string, unknown>;
  /** `__metadata__` of a safetensors file. */
  readonly metadata?: Map<string, string>;
  private readonly files: readonly FileBytes[];

  /** @internal Made by {@link readCheckpoint}. */
  constructor(
    path: string,
    contents: Contents & { stateDict: Map<string, RawTensor> },
    files: readonly FileBytes[],
  ) {
    this.path = path;
    this.format = contents.format;
    this.value = contents.value;
    this.stateDict = contents.stateDict;
    this.config = contents.config;
    this.metadata = contents.metadata;
    this.files = files;
  }

  /** Closes the files; tensors that are still to be fetched fail with ERR_DISPOSED from now on. */
  async close(): Promise<void> {
    for (const file of this.files) await file.close();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }
}

/**
 * Opens a checkpoint, telling its format by its contents: files of `torch.save` (zip and legacy), TorchScript archives,
 * safetensors, and Hugging Face folders. Files may be hostile: nothing in them is run, sizes are believed only when
 * the file bears them out, and only what is asked for is read.
 *
 * @example
 * const checkpoint = await readCheckpoint('k400_32_8.pth');
 * const proj = await checkpoint.stateDict.get('visual.proj')!.float32();
 * await checkpoint.close();
 *
 * @throws ERR_FILE_NOT_FOUND, ERR_FILE_READ, ERR_CHECKPOINT_FORMAT (not a checkpoint, damaged, or without weights),
 *   ERR_CHECKPOINT_UNSAFE (calls what is never run, or has absurd sizes)
 */
export async function readCheckpoint(path: string): Promise<Checkpoint> {
  checkText('readCheckpoint', 'path', path);
  const files: FileBytes[] = [];
  try {
    const { stateDict, ...contents } = await readContents(path, files);
    if (!stateDict) {
      const keys =
        contents.value instanceof Map ? [...contents.value.keys()].slice(0, 20).join(', ') : 'none';
      const what = `it has no weights: neither "model" nor "state_dict" is a dict of tensors (keys: ${keys})`;
      throw new CodedError('ERR_CHECKPOINT_FORMAT', `${path}: ${what}`);
    }
    return new Checkpoint(path, { stateDict, ...contents }, files);
  } catch (error) {
    for (const file of files) await file.close();
    throw error;
  }
}

async function readContents(path: string, files: FileBytes[]): Promise<Contents> {
  const info = await stat(path).catch((error) => {
    throw readError(path, error);
  });
  if (info.isDirectory()) {
    const { config, tensors } = await readHuggingFace(path, files);
    return { format: 'huggingface', value: tensors, stateDict: tensors, config };
  }
  const file = await FileBytes.open(path);
  files.push(file);
  const head = Buffer.from((await file.read(0, Math.min(512, file.byteLength))).buffer);
  return readFileContents(file, head);
}

async function readFileContents(file: FileBytes, head: Buffer): Promise<Contents> {
  if (head.toString('latin1', 0, 2) === 'PK') {
    const { format, value } = await readTorchZip(file);
    if (format === 'torchscript') return { format, value, stateDict: moduleStateDict(value) };
    return { format, value, stateDict: findStateDict(value), config: configOf(value) };
  }
  // Before pickles: the length of a safetensors header may begin like one, but torch's pickle has no brace here.
  if (head.length > 8 && head[8] === 0x7b) {
    const { tensors, metadata } = await readSafetensors(file);
    return { format: 'safetensors', value: tensors, stateDict: tensors, metadata };
  }
  if (head[0] === 0x80 && head[1]! <= 5) {
    const value = await readTorchLegacy(file);
    return { format: 'torch-legacy', value, stateDict: findStateDict(value), config: configOf(value) };
  }
  throw new CodedError('ERR_CHECKPOINT_FORMAT', `${file.path}: ${describeOther(head)}`);
}

function configOf(value: PyValue): Record<string, unknown> | undefined {
  const config = value instanceof Map ? toPlain(value.get('config')) : undefined;
  const isObject = typeof config === 'object' && config !== null && !Array.isArray(config);
  return isObject ? (config as Record<string, unknown>) : undefined;
}

/** What a file that is no checkpoint most likely is. */
function describeOther(head: Buffer): string {
  const text = head.toString('latin1');
  if (head.length === 0) return 'the file is empty';
  if (text.startsWith('version https://git-lfs')) {
    return 'this is a Git LFS pointer, not the file it stands for; fetch it with "git lfs pull"';
  }
  if (/^\s*<(!doctype|html|\?xml)/i.test(text)) {
    return 'this is a web page, not a checkpoint; the download gave an error or login page instead';
  }
  if (head[0] === 0x1f && head[1] === 0x8b) return 'the file is compressed with gzip; unpack it first';
  if (text.slice(257, 262) === 'ustar')
    return 'this is a tar archive; unpack it, or save it anew with a current torch';
  const start = head.subarray(0, 8).toString('hex');
  return `neither a torch file, nor a TorchScript archive, nor safetensors: it starts with the bytes ${start}`;
}
