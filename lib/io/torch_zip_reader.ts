import { CodedError } from '../base/error';
import { DTYPE_SIZE, type RawDtype } from './dtype';
import type { ByteRange, FileBytes } from './file_bytes';
import { callGlobal, StorageValue } from './pickle_globals';
import { EndOfPickle, PickleReader } from './pickle_reader';
import { PyGlobal, type PyValue, Tuple } from './pickle_value';
import { storageDtype, type TorchStorage } from './torch_storage';
import { ZipReader } from './zip_reader';

/** Largest pickle read; that of a 7 GB checkpoint with its optimizer has under 1 MB. */
const MAX_PICKLE = 256 << 20;

/** What a torch zip file holds. */
export interface TorchZip {
  /** `torchscript` when the archive has code. */
  readonly format: 'torch' | 'torchscript';
  readonly value: PyValue;
}

/**
 * Reads the zip files of `torch.save` (since torch 1.6) and TorchScript archives: `<root>/data.pkl` is the pickle, and
 * `<root>/data/<key>` are the storages its persistent ids name. Code in an archive is not looked at.
 *
 * @throws ERR_CHECKPOINT_FORMAT, ERR_CHECKPOINT_UNSAFE
 */
export async function readTorchZip(file: FileBytes): Promise<TorchZip> {
  const zip = await ZipReader.open(file);
  const pickles = [...zip.entries.keys()].filter((name) => /^[^/]+\/data\.pkl$/.test(name));
  if (pickles.length !== 1) {
    fail(
      file,
      `the zip archive is no torch checkpoint: it has ${pickles.length} entries <name>/data.pkl, not one`,
    );
  }
  const root = pickles[0]!.slice(0, -'data.pkl'.length);
  await checkByteOrder(file, zip, `${root}byteorder`);

  const records = new Map<string, Promise<ByteRange>>();
  const openStorage = (key: string, dtype: RawDtype, size: number): TorchStorage => {
    const name = `${root}data/${key}`;
    const entry = zip.entries.get(name);
    if (!entry) fail(file, `the pickle names storage "${key}", which the archive does not have`);
    if (size * DTYPE_SIZE[dtype] > entry.byteLength) {
      const sizes = `${size} elements of ${dtype}, but its entry has ${entry.byteLength} bytes`;
      throw new CodedError('ERR_CHECKPOINT_UNSAFE', `${file.path}: storage "${key}" claims ${sizes}`);
    }
    const bytes = (): Promise<ByteRange> => {
      const record = records.get(key) ?? zip.entry(name);
      records.set(key, record);
      return record;
    };
    return { dtype, size, bytes };
  };

  const record = await zip.entry(pickles[0]!);
  if (record.byteLength > MAX_PICKLE) {
    throw new CodedError('ERR_CHECKPOINT_UNSAFE', `${file.path}: data.pkl has ${record.byteLength} bytes`);
  }
  const reader = new PickleReader(await record.read(0, record.byteLength), {
    path: file.path,
    persistent: (id) => {
      const { key, dtype, size } = parseStorageId(file.path, id);
      return new StorageValue(openStorage(key, dtype, size));
    },
    call: (name, args, charge) => callGlobal(file.path, name, args, charge),
  });
  try {
    const format = zip.entries.has(`${root}constants.pkl`) ? 'torchscript' : 'torch';
    return { format, value: reader.read() };
  } catch (error) {
    if (error instanceof EndOfPickle) fail(file, 'data.pkl ends in the middle');
    throw error;
  }
}

/** A storage as persistent ids name it. */
export interface StorageId {
  key: string;
  dtype: RawDtype;
  /** Number of elements. */
  size: number;
  /** The rest of the id. */
  rest: readonly PyValue[];
}

/**
 * ('storage', storage class, key, location, number of elements, ...). The location ('cuda:0') is not used: where a
 * tensor goes is decided by who asks for it.
 */
export function parseStorageId(path: string, id: PyValue): StorageId {
  const items = id instanceof Tuple ? id.items : [];
  const [kind, cls, key, location, size, ...rest] = items;
  const sound =
    kind === 'storage' && cls instanceof PyGlobal && typeof key === 'string' && typeof location === 'string';
  if (!sound || !Number.isSafeInteger(size) || (size as number) < 0) {
    throw new CodedError(
      'ERR_CHECKPOINT_FORMAT',
      `${path}: the pickle is damaged: a storage is not described properly`,
    );
  }
  const dtype = storageDtype(cls.name);
  if (!dtype) {
    throw new CodedError('ERR_CHECKPOINT_FORMAT', `${path}: tensors of ${cls.name} are not supported`);
  }
  return { key, dtype, size: size as number, rest };
}

async function checkByteOrder(file: FileBytes, zip: ZipReader, name: string): Promise<void> {
  if (!zip.entries.has(name)) return;
  const record = await zip.entry(name);
  const order = Buffer.from(await record.read(0, Math.min(record.byteLength, 16))).toString('latin1');
  if (order !== 'little') fail(file, `its byte order is "${order}"; only little endian files are read`);
}

function fail(file: FileBytes, what: string): never {
  throw new CodedError('ERR_CHECKPOINT_FORMAT', `${file.path}: ${what}`);
}
