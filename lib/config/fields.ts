/** Building blocks of a configuration schema: each field knows its default, its type and which values make sense. */

/** One value. `accept` returns it, possibly converted, or a {@link Refusal}. */
export interface Field<T> {
  readonly kind: 'field';
  readonly default: T;
  accept(value: unknown): T | Refusal;
  /** True when a word on the command line stands for itself and is not read as a number, list or truth value. */
  readonly isText: boolean;
}

/** A group of values that may be missing as a whole (null); given in part, the rest has its defaults. */
export interface OptionalSection<S extends Section> {
  readonly kind: 'optional';
  readonly fields: S;
}

export interface Section {
  readonly [key: string]: Field<unknown> | OptionalSection<Section> | Section;
}

/** The values that a schema describes. */
export type ValuesOf<S> = {
  readonly [K in keyof S]: S[K] extends Field<infer T>
    ? T
    : S[K] extends OptionalSection<infer Inner>
      ? ValuesOf<Inner> | null
      : ValuesOf<S[K]>;
};

/** Why a value is refused: it has the wrong type, or the right one and makes no sense. */
export class Refusal {
  constructor(
    readonly reason: 'type' | 'value',
    /** What would be right: "an integer of at least 1". */
    readonly expected: string,
  ) {}
}

interface Bounds {
  min?: number;
  max?: number;
  /** The value must stay below. */
  below?: number;
  multipleOf?: number;
}

/** A number; integers are numbers, too. */
export function number(value: number, bounds: Bounds = {}): Field<number> {
  return numeric(value, bounds, 'a number', Number.isFinite);
}

/** A whole number below 2^53. */
export function integer(value: number, bounds: Bounds = {}): Field<number> {
  return numeric(value, bounds, 'an integer', Number.isSafeInteger);
}

function numeric(
  value: number,
  bounds: Bounds,
  noun: string,
  isRight: (value: unknown) => boolean,
): Field<number> {
  const { min, max, below, multipleOf } = bounds;
  const rules: [isKept: (x: number) => boolean, rule: string][] = [];
  if (min !== undefined) rules.push([(x) => x >= min, `at least ${min}`]);
  if (max !== undefined) rules.push([(x) => x <= max, `at most ${max}`]);
  if (below !== undefined) rules.push([(x) => x < below, `below ${below}`]);
  if (multipleOf !== undefined) rules.push([(x) => x % multipleOf === 0, `a multiple of ${multipleOf}`]);
  const expected = [noun, ...rules.map(([, rule]) => rule)].join(', ');
  return field(value, (given) => {
    if (!isRight(given)) return new Refusal('type', expected);
    const x = given as number;
    return rules.every(([isKept]) => isKept(x)) ? x : new Refusal('value', expected);
  });
}

/** A truth value. */
export function flag(value: boolean): Field<boolean> {
  return field(value, (given) => (typeof given === 'boolean' ? given : new Refusal('type', 'true or false')));
}

/** A text. */
export function text(value: string): Field<string> {
  return {
    ...field(value, (given) => (typeof given === 'string' ? given : new Refusal('type', 'a text'))),
    isText: true,
  };
}

/** A text or nothing (null; None or an empty text in YAML files of the reference). */
export function optionalText(): Field<string | null> {
  const accept = (given: unknown) =>
    given === null || typeof given === 'string' ? given || null : new Refusal('type', 'a text or None');
  return { ...field<string | null>(null, accept), isText: true };
}

/** One of a few words. */
export function choice<const T extends string>(value: NoInfer<T>, choices: readonly T[]): Field<T> {
  const expected = `one of ${choices.join(', ')}`;
  const accept = (given: unknown) => {
    if (typeof given !== 'string') return new Refusal('type', expected);
    return choices.includes(given as T) ? (given as T) : new Refusal('value', expected);
  };
  return { ...field<T>(value, accept), isText: true };
}

/** A text of a certain form, described by `expected`. */
export function pattern(value: string, form: RegExp, expected: string): Field<string> {
  const accept = (given: unknown) => {
    if (typeof given !== 'string') return new Refusal('type', expected);
    return form.test(given) ? given : new Refusal('value', expected);
  };
  return { ...field(value, accept), isText: true };
}

/** A list whose items are like `item`, of exactly `length` items if that is given. */
export function list<T>(value: readonly T[], item: Field<T>, length?: number): Field<readonly T[]> {
  const size = length === undefined ? '' : ` of ${length}`;
  return field(value, (given): readonly T[] | Refusal => {
    if (!Array.isArray(given)) return new Refusal('type', `a list${size}`);
    const items = given.map((entry) => item.accept(entry));
    const refused = items.find((entry) => entry instanceof Refusal) as Refusal | undefined;
    if (refused) return new Refusal(refused.reason, `a list${size}, each ${refused.expected}`);
    return length === undefined || items.length === length
      ? (items as T[])
      : new Refusal('value', `a list${size}`);
  });
}

/** A section that is null unless one of its values is given. */
export function optional<S extends Section>(fields: S): OptionalSection<S> {
  return { kind: 'optional', fields };
}

function field<T>(value: T, accept: (given: unknown) => T | Refusal): Field<T> {
  return { kind: 'field', default: value, accept, isText: false };
}

export function isField(entry: Section[string]): entry is Field<unknown> {
  return entry.kind === 'field';
}

export function isOptional(entry: Section[string]): entry is OptionalSection<Section> {
  return entry.kind === 'optional';
}
