import { CodedError } from '../base/error';
import { PyGlobal, PyObject, type PyValue, Tuple } from './pickle_value';
import { RawTensor } from './raw_tensor';
import { type TorchStorage, viewStorage } from './torch_storage';

/** A storage as a persistent id of a torch pickle becomes one. */
export class StorageValue {
  readonly storage: TorchStorage;

  constructor(storage: TorchStorage) {
    this.storage = storage;
  }
}

/** What a call may use: its arguments, where it stands, and the account for copies. */
interface Call {
  readonly name: string;
  readonly args: readonly PyValue[];
  readonly path: string;
  charge(elements: number): void;
}

/** Harmless classes that become a {@link PyObject}; their code is neither needed nor there. */
const INERT = new Set([
  'yacs.config.CfgNode',
  'argparse.Namespace',
  'easydict.EasyDict',
  'pathlib.Path',
  'pathlib.PosixPath',
  'datetime.datetime',
  'datetime.timedelta',
  'numpy.dtype',
  'numpy.ndarray',
  'numpy.core.multiarray._reconstruct',
]);

const CALLS: ReadonlyMap<string, (call: Call) => PyValue> = new Map<string, (call: Call) => PyValue>([
  ['collections.OrderedDict', mapOf],
  ['collections.Counter', mapOf],
  ['collections.defaultdict', () => new Map()],
  ['builtins.dict', mapOf],
  ['builtins.list', (call) => [...elementsOf(call)]],
  ['builtins.tuple', (call) => new Tuple([...elementsOf(call)])],
  ['builtins.set', (call) => new Set(elementsOf(call))],
  ['builtins.frozenset', (call) => new Set(elementsOf(call))],
  ['torch.Size', (call) => new Tuple([...elementsOf(call)])],
  ['torch.device', deviceName],
  ['torch._utils._rebuild_tensor', rebuildTensor],
  ['torch._utils._rebuild_tensor_v2', rebuildTensor],
  ['torch._utils._rebuild_parameter', tensorArgument],
  ['torch._utils._rebuild_parameter_with_state', tensorArgument],
  ['torch.jit._pickle.restore_type_tag', ({ args }) => args[0]],
  ['torch.jit._pickle.build_intlist', ({ args }) => args[0]],
  ['torch.jit._pickle.build_doublelist', ({ args }) => args[0]],
  ['torch.jit._pickle.build_boollist', ({ args }) => args[0]],
  ['torch.jit._pickle.build_tensorlist', ({ args }) => args[0]],
  ['_codecs.encode', encodeLatin1],
  ['copyreg._reconstructor', reconstruct],
  ['numpy.core.multiarray.scalar', numpyScalar],
]);

/**
 * Does what calling `name` would do, for the functions and classes that checkpoints need. Nothing outside the lists
 * above is ever called: naming such a thing is harmless, calling it is refused.
 *
 * @throws ERR_CHECKPOINT_UNSAFE for a name that is not on the lists, ERR_CHECKPOINT_FORMAT for arguments that do not fit
 */
export function callGlobal(
  path: string,
  name: string,
  args: readonly PyValue[],
  charge: (elements: number) => void,
): PyValue {
  const call = CALLS.get(name);
  if (call) return call({ name, args, path, charge });
  if (INERT.has(name) || name.startsWith('__torch__.')) return new PyObject(name, args);
  const advice = 'it is never run; save a state dict, plain containers and numbers only';
  throw new CodedError(
    'ERR_CHECKPOINT_UNSAFE',
    `${path}: the pickle calls ${name}, which is not allowed: ${advice}`,
  );
}

function elementsOf(call: Call): readonly PyValue[] {
  const [source = [], ...rest] = call.args;
  const elements = source instanceof Tuple ? source.items : source instanceof Set ? [...source] : source;
  if (!Array.isArray(elements) || rest.length > 0) failArguments(call);
  call.charge(elements.length);
  return elements;
}

function mapOf(call: Call): Map<PyValue, PyValue> {
  if (call.args[0] instanceof Map) {
    call.charge(call.args[0].size);
    return new Map(call.args[0]);
  }
  return new Map(
    elementsOf(call).map((pair) => {
      const items = pair instanceof Tuple ? pair.items : pair;
      if (!Array.isArray(items) || items.length !== 2) failArguments(call);
      return [items[0], items[1]];
    }),
  );
}

/** (storage, offset, size, strides, requires_grad, backward_hooks, metadata) -> tensor; the last three may be missing. */
function rebuildTensor(call: Call): RawTensor {
  const [storage, offset, size, strides, , , metadata] = call.args;
  const sound = storage instanceof StorageValue && size instanceof Tuple && strides instanceof Tuple;
  if (!sound) failArguments(call);
  // Metadata holds the lazy conjugate and negation bits, which change what the bytes mean.
  if (metadata instanceof Map && metadata.size > 0) failArguments(call);
  call.charge(2 * size.items.length);
  const numbers = [size, strides].map((tuple) => tuple.items.map((item) => toNumber(item)));
  return viewStorage(call.path, storage.storage, toNumber(offset), numbers[0]!, numbers[1]!);
}

function tensorArgument(call: Call): RawTensor {
  const tensor = call.args[0];
  if (!(tensor instanceof RawTensor)) failArguments(call);
  return tensor;
}

/** ('cuda', 0) -> 'cuda:0' */
function deviceName(call: Call): string {
  const [type, index] = call.args;
  if (typeof type !== 'string') failArguments(call);
  call.charge(type.length);
  return typeof index === 'number' ? `${type}:${index}` : type;
}

/** bytes in protocols 0 to 2: `_codecs.encode(text, 'latin1')`. */
function encodeLatin1(call: Call): Uint8Array {
  const [text, encoding] = call.args;
  if (typeof text !== 'string' || encoding !== 'latin1') failArguments(call);
  call.charge(text.length);
  return new Uint8Array(Buffer.from(text, 'latin1'));
}

/** An object in protocols 0 and 1: (class, base, state of the base). */
function reconstruct(call: Call): PyValue {
  const [cls, , state] = call.args;
  if (!(cls instanceof PyGlobal)) failArguments(call);
  const object = callGlobal(call.path, cls.name, [], call.charge);
  if (object instanceof PyObject && state instanceof Map) {
    call.charge(state.size);
    for (const [key, value] of state) object.items.set(key, value);
  }
  return object;
}

/** A numpy number: (dtype object, little endian bytes). */
function numpyScalar(call: Call): PyValue {
  const [dtype, bytes] = call.args;
  if (!(dtype instanceof PyObject && dtype.className === 'numpy.dtype' && ArrayBuffer.isView(bytes)))
    failArguments(call);
  const code = typeof dtype.args[0] === 'string' ? dtype.args[0] : '';
  const order = dtype.state instanceof Tuple ? dtype.state.items[1] : '<';
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const sizes: Record<string, number> = { f8: 8, f4: 4, i8: 8, i4: 4, u1: 1, b1: 1 };
  if (order === '>' || !Object.hasOwn(sizes, code) || sizes[code] !== view.byteLength) failArguments(call);
  if (code === 'f8') return view.getFloat64(0, true);
  if (code === 'f4') return view.getFloat32(0, true);
  if (code === 'i8') return Number(view.getBigInt64(0, true));
  if (code === 'i4') return view.getInt32(0, true);
  return code === 'b1' ? view.getUint8(0) !== 0 : view.getUint8(0);
}

/** NaN for anything that is no number; {@link viewStorage} refuses it. */
function toNumber(value: PyValue): number {
  return typeof value === 'number' ? value : Number.NaN;
}

function failArguments(call: Call): never {
  const what = `${call.name} has arguments that do not fit or are not supported`;
  throw new CodedError('ERR_CHECKPOINT_FORMAT', `${call.path}: the pickle is damaged: ${what}`);
}
