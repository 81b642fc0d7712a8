import { CodedError } from '../base/error';
import { PyGlobal, PyObject, Tuple } from './pickle_value';
import { RawTensor } from './raw_tensor';

/** What a pickle may mean beyond plain data; see pickle_globals.ts. */
export interface PickleContext {
  /** Named in errors. */
  readonly path: string;
  /** The object behind a persistent id, for example a storage. */
  persistent(id: unknown): unknown;
  /** The result of calling the Python function or class `name`; `charge(n)` accounts for copying n elements. */
  call(name: string, args: readonly unknown[], charge: (elements: number) => void): unknown;
}

/** Thrown inside the reader when the bytes end before the pickle does. */
export class EndOfPickle extends Error {}

/** Longest integer, in bytes or digits; converting a longer one takes time that grows with its square. */
const MAX_INTEGER = 1024;

/** What opcodes that push no value give. */
const NOTHING = Symbol('nothing');

const RENAMED: readonly (readonly [string, string])[] = [
  ['__builtin__', 'builtins'],
  ['copy_reg', 'copyreg'],
  ['numpy._core', 'numpy.core'],
];

/**
 * Interprets one pickle, protocols 0 to 5, as data: containers, strings and numbers are built, everything else is asked
 * of the context. Work and memory are proportional to the bytes read, whatever they say.
 */
export class PickleReader {
  /** Offset after the pickle, once {@link read} returned. */
  position: number;
  private readonly bytes: Buffer;
  private readonly context: PickleContext;
  private readonly memo = new Map<number, unknown>();
  private readonly stack: unknown[] = [];
  private readonly marks: number[] = [];
  private budget: number;

  constructor(bytes: Uint8Array, context: PickleContext, position = 0) {
    this.bytes = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    this.context = context;
    this.position = position;
    this.budget = 4 * bytes.length + 65536;
  }

  /** @throws ERR_CHECKPOINT_FORMAT, ERR_CHECKPOINT_UNSAFE, or {@link EndOfPickle} */
  read(): unknown {
    for (;;) {
      const opcode = this.byte();
      if (opcode === 0x2e) return this.pop();
      const value = this.execute(opcode);
      if (value !== NOTHING) this.stack.push(value);
    }
  }

  /** Carries out an opcode and gives the value that it pushes, or NOTHING. */
  private execute(opcode: number): unknown {
    switch (opcode) {
      case 0x80: // PROTO
        if (this.byte() > 5) this.fail('its protocol is newer than 5');
        break;
      case 0x95: // FRAME
        this.skip(8);
        break;
      case 0x28: // MARK
        this.marks.push(this.stack.length);
        break;
      case 0x30: // POP
        if (this.stack.length === this.marks.at(-1)) this.popMark();
        else this.pop();
        break;
      case 0x31: // POP_MARK
        this.popMark();
        break;
      case 0x32: // DUP
        return this.top();
      case 0x4e: // NONE
        return null;
      case 0x88: // NEWTRUE
        return true;
      case 0x89: // NEWFALSE
        return false;
      case 0x49: // INT
        return this.decimal(this.line());
      case 0x4c: // LONG
        return this.decimal(this.line().replace(/L$/, ''));
      case 0x46: // FLOAT
        return parseFloatLine(this.line());
      case 0x4a: // BININT
        return this.bytes.readInt32LE(this.skip(4));
      case 0x4b: // BININT1
        return this.byte();
      case 0x4d: // BININT2
        return this.bytes.readUInt16LE(this.skip(2));
      case 0x47: // BINFLOAT
        return this.bytes.readDoubleBE(this.skip(8));
      case 0x8a: // LONG1
        return this.long(this.byte());
      case 0x8b: // LONG4
        return this.long(this.uint32());
      case 0x53: // STRING
        return this.quoted(this.line());
      case 0x56: // UNICODE
        return unescapeUnicode(this.line());
      case 0x54: // BINSTRING
      case 0x58: // BINUNICODE
        return this.text(this.uint32());
      case 0x55: // SHORT_BINSTRING
      case 0x8c: // SHORT_BINUNICODE
        return this.text(this.byte());
      case 0x8d: // BINUNICODE8
        return this.text(this.uint64());
      case 0x42: // BINBYTES
        return this.blob(this.uint32());
      case 0x43: // SHORT_BINBYTES
        return this.blob(this.byte());
      case 0x8e: // BINBYTES8
      case 0x96: // BYTEARRAY8
        return this.blob(this.uint64());
      case 0x29: // EMPTY_TUPLE
        return new Tuple([]);
      case 0x85: // TUPLE1
      case 0x86: // TUPLE2
      case 0x87: // TUPLE3
        return new Tuple(this.popMany(opcode - 0x84));
      case 0x74: // TUPLE
        return new Tuple(this.popMark());
      case 0x5d: // EMPTY_LIST
        return [];
      case 0x6c: // LIST
        return this.popMark();
      case 0x7d: // EMPTY_DICT
        return new Map();
      case 0x64: // DICT
        return this.setItems(new Map(), this.popMark());
      case 0x8f: // EMPTY_SET
        return new Set();
      case 0x91: // FROZENSET
        return new Set(this.popMark());
      case 0x61: // APPEND
        this.append([this.pop()]);
        break;
      case 0x65: // APPENDS
        this.append(this.popMark());
        break;
      case 0x90: // ADDITEMS
        this.addItems(this.popMark());
        break;
      case 0x73: // SETITEM
        this.setItems(undefined, this.popMany(2));
        break;
      case 0x75: // SETITEMS
        this.setItems(undefined, this.popMark());
        break;
      case 0x67: // GET
        return this.recall(Number(this.line()));
      case 0x68: // BINGET
        return this.recall(this.byte());
      case 0x6a: // LONG_BINGET
        return this.recall(this.uint32());
      case 0x70: // PUT
        this.memo.set(Number(this.line()), this.top());
        break;
      case 0x71: // BINPUT
        this.memo.set(this.byte(), this.top());
        break;
      case 0x72: // LONG_BINPUT
        this.memo.set(this.uint32(), this.top());
        break;
      case 0x94: // MEMOIZE
        this.memo.set(this.memo.size, this.top());
        break;
      case 0x63: // GLOBAL
        return this.global(this.line(), this.line());
      case 0x93: {
        // STACK_GLOBAL
        const [module, name] = this.popMany(2);
        return this.global(module, name);
      }
      case 0x52: // REDUCE
      case 0x81: {
        // NEWOBJ
        const [callee, args] = this.popMany(2);
        return this.call(callee, args);
      }
      case 0x92: {
        // NEWOBJ_EX
        const [callee, args, named] = this.popMany(3);
        if (!(named instanceof Map) || named.size > 0) this.fail('an object is made from named arguments');
        return this.call(callee, args);
      }
      case 0x69: {
        // INST
        const callee = this.global(this.line(), this.line());
        return this.call(callee, new Tuple(this.popMark()));
      }
      case 0x6f: {
        // OBJ
        const [callee, ...args] = this.popMark();
        return this.call(callee, new Tuple(args));
      }
      case 0x62: // BUILD
        this.build(this.pop());
        break;
      case 0x50: // PERSID
        return this.context.persistent(this.line());
      case 0x51: // BINPERSID
        return this.context.persistent(this.pop());
      default:
        this.fail(`opcode 0x${opcode.toString(16)} is unknown or not supported`);
    }
    return NOTHING;
  }

  private global(module: unknown, name: unknown): PyGlobal {
    if (typeof module !== 'string' || typeof name !== 'string') this.fail('a global is not named by strings');
    const renamed = RENAMED.find(([old]) => module === old || module.startsWith(`${old}.`));
    const today = renamed ? renamed[1] + module.slice(renamed[0].length) : module;
    return new PyGlobal(`${today}.${name}`);
  }

  private call(callee: unknown, args: unknown): unknown {
    if (!(callee instanceof PyGlobal)) this.fail('something that is no class or function is called');
    if (!(args instanceof Tuple)) this.fail(`the arguments of ${callee.name} are no tuple`);
    return this.context.call(callee.name, args.items, (elements) => this.charge(elements));
  }

  private build(state: unknown): void {
    const target = this.top();
    if (target instanceof PyObject) target.state = state;
    // Attributes of dicts (an OrderedDict's _metadata) and of parameters carry nothing a checkpoint needs.
    else if (!(target instanceof Map || target instanceof Set || target instanceof RawTensor)) {
      this.fail('state is given to something that is no object');
    }
  }

  private append(items: unknown[]): void {
    const target = this.top();
    const list = target instanceof PyObject ? target.elements : target;
    if (!Array.isArray(list)) this.fail('elements are appended to something that is no list');
    for (const item of items) list.push(item);
  }

  private addItems(items: unknown[]): void {
    const target = this.top();
    if (!(target instanceof Set)) this.fail('elements are added to something that is no set');
    for (const item of items) target.add(item);
  }

  /** Sets the pairs in `items` on `target`, the top of the stack unless given. */
  private setItems(target: Map<unknown, unknown> | undefined, items: unknown[]): Map<unknown, unknown> {
    const top = target ?? this.top();
    const map = top instanceof PyObject ? top.items : top;
    if (!(map instanceof Map)) this.fail('items are set on something that is no dict');
    if (items.length % 2 === 1) this.fail('a dict has a key without a value');
    for (let i = 0; i < items.length; i += 2) map.set(items[i], items[i + 1]);
    return map;
  }

  private recall(index: number): unknown {
    if (!this.memo.has(index)) this.fail(`memo entry ${index} is read before it is written`);
    return this.memo.get(index);
  }

  private top(): unknown {
    if (this.stack.length <= (this.marks.at(-1) ?? 0)) this.fail('its stack is empty');
    return this.stack[this.stack.length - 1];
  }

  private pop(): unknown {
    const value = this.top();
    this.stack.pop();
    return value;
  }

  private popMany(count: number): unknown[] {
    if (this.stack.length - (this.marks.at(-1) ?? 0) < count) this.fail('its stack is empty');
    return this.stack.splice(this.stack.length - count);
  }

  private popMark(): unknown[] {
    const mark = this.marks.pop();
    if (mark === undefined) this.fail('it has no mark where one is needed');
    return this.stack.splice(mark);
  }

  private charge(elements: number): void {
    this.budget -= elements;
    if (this.budget >= 0) return;
    const what = 'its pickle copies far more data than it holds';
    throw new CodedError('ERR_CHECKPOINT_UNSAFE', `${this.context.path}: ${what}`);
  }

  /** Advances over `count` bytes and returns where they start. */
  private skip(count: number): number {
    const start = this.position;
    if (count > this.bytes.length - start) throw new EndOfPickle();
    this.position = start + count;
    return start;
  }

  private byte(): number {
    return this.bytes[this.skip(1)]!;
  }

  private uint32(): number {
    return this.bytes.readUInt32LE(this.skip(4));
  }

  private uint64(): number {
    return Number(this.bytes.readBigUInt64LE(this.skip(8)));
  }

  private text(length: number): string {
    const start = this.skip(length);
    return this.bytes.toString('utf8', start, start + length);
  }

  private blob(length: number): Uint8Array {
    const start = this.skip(length);
    return new Uint8Array(this.bytes.subarray(start, start + length));
  }

  private line(): string {
    const end = this.bytes.indexOf(0x0a, this.position);
    if (end < 0) throw new EndOfPickle();
    const text = this.bytes.toString('latin1', this.position, end);
    this.position = end + 1;
    return text;
  }

  /** A string literal, which only Python 2 writes. */
  private quoted(text: string): string {
    if (!/^(['"])[^\\]*\1$/.test(text)) this.fail('a string literal is malformed or has escapes');
    return text.slice(1, -1);
  }

  private decimal(text: string): unknown {
    if (text === '00' || text === '01') return text === '01';
    if (text.length > MAX_INTEGER || !/^-?\d+$/.test(text))
      this.fail('an integer is malformed or absurdly long');
    return narrow(BigInt(text));
  }

  private long(length: number): unknown {
    if (length > MAX_INTEGER) this.fail(`an integer has ${length} bytes`);
    const start = this.skip(length);
    if (length === 0) return 0;
    const hex = Buffer.from(this.bytes.subarray(start, start + length))
      .reverse()
      .toString('hex');
    return narrow(BigInt.asIntN(length * 8, BigInt(`0x${hex}`)));
  }

  private fail(what: string): never {
    throw new CodedError('ERR_CHECKPOINT_FORMAT', `${this.context.path}: the pickle is damaged: ${what}`);
  }
}

function narrow(value: bigint): number | bigint {
  const number = Number(value);
  return Number.isSafeInteger(number) ? number : value;
}

function parseFloatLine(text: string): number {
  if (/inf$/.test(text)) return text.startsWith('-') ? -Infinity : Infinity;
  return Number(text);
}

function unescapeUnicode(text: string): string {
  return text.replace(/\\u([0-9a-fA-F]{4})|\\U([0-9a-fA-F]{8})/g, (whole, short?: string, long?: string) => {
    const code = Number.parseInt(short ?? long ?? '', 16);
    return code <= 0x10ffff ? String.fromCodePoint(code) : whole;
  });
}
