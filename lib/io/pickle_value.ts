import { CodedError } from '../base/error';

/**
 * What Python values become. int: number, bigint beyond 2^53; float: number; str: string; bytes: Uint8Array; list:
 * Array; tuple: {@link Tuple}; dict and OrderedDict: Map; set: Set; None: null; tensor: RawTensor; a class that is only
 * named: {@link PyGlobal}; an object of a known harmless class: {@link PyObject}. Keys of a Map are string or number in
 * practice, so `map.get('model')` and `map.get(0)` work.
 */
export type PyValue = unknown;

/** A Python tuple: `new Tuple([0.9, 0.98])`. An Array alone is a list. */
export class Tuple {
  readonly items: readonly PyValue[];

  constructor(items: readonly PyValue[]) {
    this.items = items;
  }
}

/** Writes a number as a Python float even when it is integral: `new PyFloat(1)` is 1.0. Reading gives plain numbers. */
export class PyFloat {
  readonly value: number;

  constructor(value: number) {
    this.value = value;
  }
}

/** The name of a Python class or function. It is never looked up. */
export class PyGlobal {
  /** `module.name`, with the names Python 2 used replaced by today's. */
  readonly name: string;

  constructor(name: string) {
    this.name = name;
  }
}

/** An object of a known harmless class, as recorded in the file: no method of it exists, none was run. */
export class PyObject {
  readonly className: string;
  readonly args: readonly PyValue[];
  /** Entries, when the class derives from dict. */
  readonly items = new Map<PyValue, PyValue>();
  /** Elements, when the class derives from list. */
  readonly elements: PyValue[] = [];
  /** Instance state, most often a Map of attributes. */
  state: PyValue = null;

  constructor(className: string, args: readonly PyValue[]) {
    this.className = className;
    this.args = args;
  }
}

const MAX_DEPTH = 100;

/**
 * A copy made of plain objects, arrays and scalars only: Maps and dict-like objects become objects (keys as strings),
 * other objects their attributes, tuples and sets arrays. Tensors and bytes stay.
 *
 * @throws ERR_CHECKPOINT_UNSAFE when the value contains itself or is nested more than 100 deep
 */
export function toPlain(value: PyValue): unknown {
  // Shared parts are converted once: a few bytes of pickle can name a value of astronomic size.
  const done = new Map<PyValue, unknown>();
  const convert = (part: PyValue, depth: number): unknown => {
    if (depth > MAX_DEPTH)
      throw new CodedError('ERR_CHECKPOINT_UNSAFE', `a value is nested over ${MAX_DEPTH} deep`);
    if (done.has(part)) return done.get(part);
    const list = elementsOf(part);
    const entries = list ? undefined : entriesOf(part);
    if (!list && !entries) return part;
    const plain: unknown = list
      ? list.map((item) => convert(item, depth + 1))
      : Object.fromEntries([...entries!].map(([key, item]) => [String(key), convert(item, depth + 1)]));
    done.set(part, plain);
    return plain;
  };
  return convert(value, 0);
}

function elementsOf(value: PyValue): readonly PyValue[] | undefined {
  if (Array.isArray(value)) return value;
  if (value instanceof Tuple) return value.items;
  if (value instanceof Set) return [...value];
  if (value instanceof PyObject && value.elements.length > 0) return value.elements;
  return undefined;
}

function entriesOf(value: PyValue): Iterable<[PyValue, PyValue]> | undefined {
  if (value instanceof Map) return value;
  if (!(value instanceof PyObject)) return undefined;
  if (value.items.size > 0) return value.items;
  return value.state instanceof Map ? value.state : [];
}
