import { CodedError } from '../base/error';
import { PyFloat, Tuple } from './pickle_value';
import { RawTensor } from './raw_tensor';

/** Longest int written, which is what one opcode holds. */
const MAX_INTEGER_BYTES = 255;
const MAX_DEPTH = 100;

/**
 * A value as a pickle of protocol 2 that torch's restricted loader accepts. Map and plain object: dict (a Map may have
 * integer keys); array: list; {@link Tuple}: tuple; integral number or bigint: int; other number or {@link PyFloat}:
 * float; string, boolean, null: str, bool, None; {@link RawTensor}: tensor.
 *
 * @param storageKey - the key under which the elements of a tensor are stored
 * @throws ERR_ARGUMENT, naming the place, for anything else and for a value that contains itself
 */
export function writePickle(value: unknown, storageKey: (tensor: RawTensor) => string): Buffer {
  const writer = new PickleWriter(storageKey);
  writer.write(value, '');
  return writer.finish();
}

const STORAGE_CLASSES = {
  float64: 'DoubleStorage',
  float32: 'FloatStorage',
  float16: 'HalfStorage',
  bfloat16: 'BFloat16Storage',
  int64: 'LongStorage',
  int32: 'IntStorage',
  int16: 'ShortStorage',
  int8: 'CharStorage',
  uint8: 'ByteStorage',
  bool: 'BoolStorage',
} as const;

class PickleWriter {
  private readonly parts: Buffer[] = [Buffer.from([0x80, 2])];
  /** The containers being written, to notice one inside itself. */
  private readonly open = new Set<unknown>();
  private readonly storageKey: (tensor: RawTensor) => string;

  constructor(storageKey: (tensor: RawTensor) => string) {
    this.storageKey = storageKey;
  }

  finish(): Buffer {
    this.opcode('.');
    return Buffer.concat(this.parts);
  }

  write(value: unknown, place: string): void {
    if (value === null) this.opcode('N');
    else if (typeof value === 'boolean') this.parts.push(Buffer.from([value ? 0x88 : 0x89]));
    else if (typeof value === 'string') this.string(value);
    else if (typeof value === 'number')
      Number.isSafeInteger(value) && !Object.is(value, -0) ? this.int(value) : this.float(value);
    else if (typeof value === 'bigint') this.long(value, place);
    else if (value instanceof PyFloat) this.float(value.value);
    else if (value instanceof RawTensor) this.tensor(value);
    else if (typeof value === 'object') this.container(value, place);
    else this.fail(place, `is a ${typeof value}`);
  }

  private container(value: object, place: string): void {
    if (this.open.has(value)) this.fail(place, 'contains itself');
    if (this.open.size > MAX_DEPTH) this.fail(place, `is nested more than ${MAX_DEPTH} deep`);
    this.open.add(value);
    if (value instanceof Tuple) {
      this.opcode('(');
      for (const [i, item] of value.items.entries()) this.write(item, `${place}[${i}]`);
      this.opcode('t');
    } else if (Array.isArray(value)) {
      this.opcode('](');
      for (const [i, item] of value.entries()) this.write(item, `${place}[${i}]`);
      this.opcode('e');
    } else if (value instanceof Map) {
      this.dict(value, place);
    } else if (isPlainObject(value)) {
      this.dict(Object.entries(value), place);
    } else {
      this.fail(place, `is a ${value.constructor?.name ?? 'object without class'}`);
    }
    this.open.delete(value);
  }

  private dict(entries: Iterable<[unknown, unknown]>, place: string): void {
    this.opcode('}(');
    for (const [key, item] of entries) {
      const inside = `${place}[${JSON.stringify(key)}]`;
      if (typeof key !== 'string' && !Number.isSafeInteger(key))
        this.fail(inside, 'has a key that is no string or int');
      this.write(key, inside);
      this.write(item, inside);
    }
    this.opcode('u');
  }

  private tensor(tensor: RawTensor): void {
    this.global('torch._utils', '_rebuild_tensor_v2');
    this.opcode('((');
    this.string('storage');
    this.global('torch', STORAGE_CLASSES[tensor.dtype]);
    this.string(this.storageKey(tensor));
    this.string('cpu');
    this.int(tensor.size);
    this.opcode('tQ');
    this.int(0);
    this.ints(tensor.shape);
    this.ints(contiguousStrides(tensor.shape));
    this.parts.push(Buffer.from([0x89]));
    this.global('collections', 'OrderedDict');
    this.opcode(')RtR');
  }

  private ints(values: readonly number[]): void {
    this.opcode('(');
    for (const value of values) this.int(value);
    this.opcode('t');
  }

  private int(value: number): void {
    if (value >= 0 && value < 256) this.parts.push(Buffer.from([0x4b, value]));
    else if (value === (value | 0)) {
      const bytes = Buffer.alloc(5, 'J');
      bytes.writeInt32LE(value, 1);
      this.parts.push(bytes);
    } else this.long(BigInt(value), '');
  }

  private long(value: bigint, place: string): void {
    let length = 1;
    while (length <= MAX_INTEGER_BYTES && BigInt.asIntN(8 * length, value) !== value) length++;
    if (length > MAX_INTEGER_BYTES) this.fail(place, 'is an integer of more than 255 bytes');
    const hex = BigInt.asUintN(8 * length, value)
      .toString(16)
      .padStart(2 * length, '0');
    this.parts.push(Buffer.from([0x8a, length]), Buffer.from(hex, 'hex').reverse());
  }

  private float(value: number): void {
    const bytes = Buffer.alloc(9, 'G');
    bytes.writeDoubleBE(value, 1);
    this.parts.push(bytes);
  }

  private string(text: string): void {
    const bytes = Buffer.from(text, 'utf8');
    const head = Buffer.alloc(5, 'X');
    head.writeUInt32LE(bytes.length, 1);
    this.parts.push(head, bytes);
  }

  private global(module: string, name: string): void {
    this.parts.push(Buffer.from(`c${module}\n${name}\n`, 'latin1'));
  }

  private opcode(characters: string): void {
    this.parts.push(Buffer.from(characters, 'latin1'));
  }

  private fail(place: string, what: string): never {
    throw new CodedError(
      'ERR_ARGUMENT',
      `a checkpoint cannot hold the value at ${place || 'its top'}, which ${what}`,
    );
  }
}

function contiguousStrides(shape: readonly number[]): number[] {
  const strides = shape.map(() => 1);
  for (let axis = shape.length - 2; axis >= 0; axis--)
    strides[axis] = strides[axis + 1]! * Math.max(1, shape[axis + 1]!);
  return strides;
}

function isPlainObject(value: object): boolean {
  const prototype = Object.getPrototypeOf(value);
  return prototype === null || Object.getPrototypeOf(prototype) === null;
}
