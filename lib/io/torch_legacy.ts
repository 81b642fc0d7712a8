import { CodedError } from '../base/error';
import { DTYPE_SIZE } from './dtype';
import type { ByteRange, FileBytes } from './file_bytes';
import { callGlobal, StorageValue } from './pickle_globals';
import { EndOfPickle, type PickleContext, PickleReader } from './pickle_reader';
import { type PyValue, Tuple } from './pickle_value';
import type { TorchStorage } from './torch_storage';
import { parseStorageId, type StorageId } from './torch_zip_reader';

/** The number that `torch.save` of before 1.6 starts with, pickled. */
const MAGIC = 0x1950a86a20f9469cfc6cn;
const PROTOCOL = 1001;
const FIRST_READ = 1 << 20;
const MAX_PICKLE = 256 << 20;

/**
 * Reads the files of `torch.save` before torch 1.6 (and of `_use_new_zipfile_serialization=False`): five pickles (magic,
 * protocol, system, value, storage keys), then for each key the number of elements as int64 and the elements.
 *
 * @throws ERR_CHECKPOINT_FORMAT, ERR_CHECKPOINT_UNSAFE
 */
export async function readTorchLegacy(file: FileBytes): Promise<PyValue> {
  const ids = new Map<string, StorageId>();
  const places = new Map<string, ByteRange>();
  const context: PickleContext = {
    path: file.path,
    persistent: (id) => persistent(file.path, id, ids, places),
    call: (name, args, charge) => callGlobal(file.path, name, args, charge),
  };
  const pickles = new PickleSequence(file, context);
  if ((await pickles.next()) !== MAGIC) fail(file, 'it is a pickle, but not one that torch.save wrote');
  if ((await pickles.next()) !== PROTOCOL) fail(file, `its protocol version is not ${PROTOCOL}`);
  const system = await pickles.next();
  if (!(system instanceof Map) || system.get('little_endian') !== true) {
    fail(file, 'it was written on a big endian machine; only little endian files are read');
  }
  const value = await pickles.next();
  const keys = await pickles.next();
  if (!Array.isArray(keys)) fail(file, 'its list of storages is no list');
  let position = pickles.position;
  for (const key of keys) {
    const id = ids.get(key);
    if (!id || places.has(key)) fail(file, `its list of storages names "${key}" wrongly`);
    const count = Buffer.from((await file.read(position, 8)).buffer).readBigInt64LE(0);
    if (count !== BigInt(id.size))
      fail(file, `storage "${key}" has ${count} elements where ${id.size} are expected`);
    const byteLength = id.size * DTYPE_SIZE[id.dtype];
    places.set(key, file.range(position + 8, byteLength));
    position += 8 + byteLength;
  }
  for (const key of ids.keys()) if (!places.has(key)) fail(file, `it holds no storage "${key}"`);
  return value;
}

function persistent(
  path: string,
  id: PyValue,
  ids: Map<string, StorageId>,
  places: ReadonlyMap<string, ByteRange>,
): PyValue {
  // ('module', class, source file, source): the class alone matters.
  if (id instanceof Tuple && id.items[0] === 'module') return id.items[1];
  const parsed = parseStorageId(path, id);
  const known = ids.get(parsed.key) ?? parsed;
  if (known.dtype !== parsed.dtype || known.size !== parsed.size) {
    const what = `storage "${parsed.key}" is described in two ways`;
    throw new CodedError('ERR_CHECKPOINT_FORMAT', `${path}: the pickle is damaged: ${what}`);
  }
  ids.set(parsed.key, known);
  const whole: TorchStorage = {
    dtype: known.dtype,
    size: known.size,
    bytes: async () => places.get(known.key)!,
  };
  return new StorageValue(viewOf(path, whole, parsed.rest[0]));
}

/** A storage that is part of another: (key of the view, offset, number of elements), or None for the whole. */
function viewOf(path: string, whole: TorchStorage, view: PyValue): TorchStorage {
  if (view === null || view === undefined) return whole;
  const [, offset, size] = view instanceof Tuple ? view.items : [];
  const sound =
    Number.isSafeInteger(offset) && Number.isSafeInteger(size) && Number(offset) >= 0 && Number(size) >= 0;
  if (!sound || Number(offset) + Number(size) > whole.size) {
    throw new CodedError('ERR_CHECKPOINT_UNSAFE', `${path}: a storage view is not inside its storage`);
  }
  const start = Number(offset) * DTYPE_SIZE[whole.dtype];
  const byteLength = Number(size) * DTYPE_SIZE[whole.dtype];
  const bytes = async (): Promise<ByteRange> => {
    const range = await whole.bytes();
    return { byteLength, read: (at, length) => range.read(start + at, length) };
  };
  return { dtype: whole.dtype, size: Number(size), bytes };
}

/** Pickles one after the other in a file. Their lengths are not written anywhere, so more is read until one fits. */
class PickleSequence {
  position = 0;
  private window = new Uint8Array(0);
  private start = 0;
  private readonly file: FileBytes;
  private readonly context: PickleContext;

  constructor(file: FileBytes, context: PickleContext) {
    this.file = file;
    this.context = context;
  }

  async next(): Promise<PyValue> {
    for (let length = FIRST_READ; ; length *= 4) {
      const reader = new PickleReader(this.window, this.context, this.position - this.start);
      try {
        const value = reader.read();
        this.position = this.start + reader.position;
        return value;
      } catch (error) {
        if (!(error instanceof EndOfPickle)) throw error;
        const windowEnd = this.start + this.window.length;
        if (windowEnd === this.file.byteLength)
          fail(this.file, 'it ends in the middle of a pickle; it is truncated');
        if (length > MAX_PICKLE) fail(this.file, `it has a pickle of more than ${MAX_PICKLE} bytes`);
        this.start = this.position;
        this.window = await this.file.read(this.start, Math.min(length, this.file.byteLength - this.start));
      }
    }
  }
}

function fail(file: FileBytes, what: string): never {
  throw new CodedError('ERR_CHECKPOINT_FORMAT', `${file.path}: ${what}`);
}
