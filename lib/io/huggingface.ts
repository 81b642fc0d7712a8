import { readdir, readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { CodedError } from '../base/error';
import { FileBytes, readError } from './file_bytes';
import type { RawTensor } from './raw_tensor';
import { readSafetensors } from './safetensors';
import { findStateDict } from './state_dict';
import { readTorchZip } from './torch_zip_reader';

/** Weight files in the order they are looked for. An index names the files a large model is split into. */
const WEIGHTS = [
  'model.safetensors',
  'model.safetensors.index.json',
  'pytorch_model.bin',
  'pytorch_model.bin.index.json',
] as const;
const MAX_JSON = 16 << 20;

/** Contents of a transformers model folder, names and configuration as they are. */
export interface HuggingFaceFolder {
  readonly config: Record<string, unknown>;
  readonly tensors: Map<string, RawTensor>;
}

/**
 * Reads a folder with config.json and model.safetensors or pytorch_model.bin, also split into several by an index.
 *
 * @param opened - receives each file that stays open for its tensors
 * @throws ERR_FILE_NOT_FOUND, ERR_CHECKPOINT_FORMAT, ERR_CHECKPOINT_UNSAFE
 */
export async function readHuggingFace(folder: string, opened: FileBytes[]): Promise<HuggingFaceFolder> {
  const described = join(folder, 'config.json');
  if (!(await exists(described))) throw await noModel(folder);
  const config = await readJson(described);
  const found: string[] = [];
  for (const name of WEIGHTS) if (await exists(join(folder, name))) found.push(name);
  const weights = found[0];
  if (!weights) {
    throw new CodedError('ERR_FILE_NOT_FOUND', `${folder} has none of ${WEIGHTS.join(', ')}`);
  }
  const names = weights.endsWith('.json') ? await shardsOf(join(folder, weights)) : [weights];
  const tensors = new Map<string, RawTensor>();
  for (const name of names) {
    const file = await FileBytes.open(join(folder, name));
    opened.push(file);
    for (const [key, tensor] of await readWeights(file)) {
      if (tensors.has(key)) fail(file.path, `tensor "${key}" is in another file of the folder, too`);
      tensors.set(key, tensor);
    }
  }
  return { config, tensors };
}

/** What to say of a folder without a configuration, such as one in which a training leaves its checkpoints. */
async function noModel(folder: string): Promise<CodedError> {
  const names = await readdir(folder).catch((error) => {
    throw readError(folder, error);
  });
  const weights = names.filter((name) => /\.(pth|pt|bin|safetensors)$/.test(name)).sort();
  const shown = weights.slice(0, 3).map((name) => join(folder, name));
  const instead = shown.length > 0 ? `; name a file in it: ${shown.join(', ')}` : '';
  const more = weights.length > shown.length ? ' ...' : '';
  return new CodedError(
    'ERR_FILE_NOT_FOUND',
    `${folder} is no folder of a Hugging Face model, it has no config.json${instead}${more}`,
  );
}

async function readWeights(file: FileBytes): Promise<Map<string, RawTensor>> {
  if (file.path.endsWith('.safetensors')) return (await readSafetensors(file)).tensors;
  const tensors = findStateDict((await readTorchZip(file)).value);
  return tensors ?? fail(file.path, 'it holds no state dict');
}

async function shardsOf(path: string): Promise<string[]> {
  const { weight_map: map } = await readJson(path);
  if (typeof map !== 'object' || map === null) fail(path, 'it has no "weight_map"');
  const names = [...new Set<unknown>(Object.values(map))];
  for (const name of names) {
    if (typeof name === 'string' && /^[\w-][\w.-]*$/.test(name)) continue;
    throw new CodedError(
      'ERR_CHECKPOINT_UNSAFE',
      `${path}: ${JSON.stringify(name)} is no name of a file beside it`,
    );
  }
  return names as string[];
}

async function readJson(path: string): Promise<Record<string, unknown>> {
  const file = await FileBytes.open(path);
  await file.close();
  if (file.byteLength > MAX_JSON) fail(path, `it has ${file.byteLength} bytes, too many for a configuration`);
  const text = await readFile(path, 'utf8').catch((error) => {
    throw readError(path, error);
  });
  try {
    const value: unknown = JSON.parse(text);
    if (typeof value === 'object' && value !== null && !Array.isArray(value))
      return value as Record<string, unknown>;
  } catch (error) {
    fail(path, `it is no JSON: ${(error as Error).message}`);
  }
  fail(path, 'it is no JSON object');
}

async function exists(path: string): Promise<boolean> {
  return stat(path).then(
    () => true,
    () => false,
  );
}

function fail(path: string, what: string): never {
  throw new CodedError('ERR_CHECKPOINT_FORMAT', `${path}: ${what}`);
}
