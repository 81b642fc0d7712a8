import { checkKnownOptions } from '../base/check';
import { CodedError } from '../base/error';
import { type WriteOptions, writeAtomically, writeKeys } from './atomic_file';
import { DTYPE_SIZE, type RawDtype } from './dtype';
import type { FileBytes } from './file_bytes';
import { RawTensor } from './raw_tensor';

/** Largest header the format allows. */
const MAX_HEADER = 100_000_000;

const NAMES: Readonly<Record<RawDtype, string>> = {
  float64: 'F64',
  float32: 'F32',
  float16: 'F16',
  bfloat16: 'BF16',
  int64: 'I64',
  int32: 'I32',
  int16: 'I16',
  int8: 'I8',
  uint8: 'U8',
  bool: 'BOOL',
};
const DTYPES = new Map(Object.entries(NAMES).map(([dtype, name]) => [name, dtype as RawDtype]));

/** Contents of a safetensors file. */
export interface Safetensors {
  readonly tensors: Map<string, RawTensor>;
  /** The `__metadata__` of the header. */
  readonly metadata: Map<string, string>;
}

/**
 * Reads the header of a safetensors file: its length as uint64, JSON of name -> {dtype, shape, data_offsets}, then the
 * elements, without holes or overlaps.
 *
 * @throws ERR_CHECKPOINT_FORMAT, ERR_CHECKPOINT_UNSAFE
 */
export async function readSafetensors(file: FileBytes): Promise<Safetensors> {
  const headerLength = Number(Buffer.from((await file.read(0, 8)).buffer).readBigUInt64LE(0));
  if (headerLength > MAX_HEADER || 8 + headerLength > file.byteLength) {
    const what = `a header of ${headerLength} bytes in a file of ${file.byteLength}`;
    throw new CodedError('ERR_CHECKPOINT_UNSAFE', `${file.path}: the safetensors file claims ${what}`);
  }
  const header = parseHeader(file, await file.read(8, headerLength));
  const tensors = new Map<string, RawTensor>();
  const metadata = new Map<string, string>();
  const spans: [number, number][] = [];
  for (const [name, entry] of Object.entries(header)) {
    if (!isObject(entry)) fail(file, `the entry "${name}" is no object`);
    if (name === '__metadata__') {
      for (const [key, value] of Object.entries(entry)) metadata.set(key, String(value));
      continue;
    }
    const [tensor, begin, end] = parseEntry(file, 8 + headerLength, name, entry);
    tensors.set(name, tensor);
    spans.push([begin, end]);
  }
  let covered = 0;
  for (const [begin, end] of spans.sort((a, b) => a[0] - b[0] || a[1] - b[1])) {
    if (begin !== covered) fail(file, `bytes ${covered} to ${begin} belong to no tensor, or to two`);
    covered = end;
  }
  if (8 + headerLength + covered !== file.byteLength) {
    fail(file, `it has ${file.byteLength} bytes where its header describes ${8 + headerLength + covered}`);
  }
  return { tensors, metadata };
}

/**
 * Writes a safetensors file, tensor by tensor, at once or not at all. Elements are ordered by falling item size, so
 * that each is aligned; equal input gives equal files.
 *
 * @throws ERR_ARGUMENT for the name `__metadata__`, ERR_FILE_WRITE, ERR_ABORTED
 */
export async function writeSafetensors(
  path: string,
  tensors: ReadonlyMap<string, RawTensor>,
  metadata: ReadonlyMap<string, string> = new Map(),
  options: WriteOptions = {},
): Promise<void> {
  checkKnownOptions('writeSafetensors', options, writeKeys);
  const sorted = [...tensors].sort((a, b) => DTYPE_SIZE[b[1].dtype] - DTYPE_SIZE[a[1].dtype]);
  const entries: [string, unknown][] =
    metadata.size > 0 ? [['__metadata__', Object.fromEntries(metadata)]] : [];
  let offset = 0;
  for (const [name, tensor] of sorted) {
    if (name === '__metadata__')
      throw new CodedError('ERR_ARGUMENT', 'a tensor cannot be named "__metadata__"');
    const span = [offset, offset + tensor.byteLength];
    entries.push([name, { dtype: NAMES[tensor.dtype], shape: tensor.shape, data_offsets: span }]);
    offset += tensor.byteLength;
  }
  const json = Buffer.from(JSON.stringify(Object.fromEntries(entries)));
  const header = Buffer.alloc(8 + Math.ceil(json.length / 8) * 8, ' ');
  header.writeBigUInt64LE(BigInt(header.length - 8), 0);
  json.copy(header, 8);
  const write = async (append: (bytes: Uint8Array) => Promise<void>): Promise<void> => {
    await append(header);
    for (const [, tensor] of sorted) await append(await tensor.data());
  };
  await writeAtomically(
    path,
    header.length + offset,
    (file) => write((bytes) => file.append(bytes)),
    options,
  );
}

function parseHeader(file: FileBytes, bytes: Uint8Array<ArrayBuffer>): Record<string, unknown> {
  try {
    const header: unknown = JSON.parse(Buffer.from(bytes.buffer).toString('utf8'));
    if (isObject(header)) return header;
  } catch (error) {
    fail(file, `its header is no JSON: ${(error as Error).message}`);
  }
  fail(file, 'its header is no JSON object');
}

function parseEntry(
  file: FileBytes,
  base: number,
  name: string,
  entry: Record<string, unknown>,
): [tensor: RawTensor, begin: number, end: number] {
  const { dtype: code, shape, data_offsets: offsets } = entry;
  const dtype = typeof code === 'string' ? DTYPES.get(code) : undefined;
  if (!dtype) fail(file, `tensor "${name}" has the dtype ${JSON.stringify(code)}, which is not supported`);
  if (!isSizes(shape) || !isSizes(offsets) || offsets.length !== 2)
    fail(file, `tensor "${name}" is not described`);
  const [begin, end] = offsets as [number, number];
  const size = shape.includes(0) ? 0 : shape.reduce((product, extent) => product * extent, 1);
  if (end - begin !== size * DTYPE_SIZE[dtype]) {
    fail(file, `tensor "${name}", ${dtype} [${shape}], has ${end - begin} bytes`);
  }
  if (base + end > file.byteLength) fail(file, `tensor "${name}" lies outside the file; it is truncated`);
  const range = file.range(base + begin, end - begin);
  return [new RawTensor(dtype, shape, () => range.read(0, end - begin)), begin, end];
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function isSizes(value: unknown): value is number[] {
  return Array.isArray(value) && value.every((item) => Number.isSafeInteger(item) && item >= 0);
}

function fail(file: FileBytes, what: string): never {
  throw new CodedError('ERR_CHECKPOINT_FORMAT', `${file.path}: ${what}`);
}
