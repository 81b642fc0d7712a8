// What functions say of wrong arguments. TypeScript finds most of them; calls from JavaScript come this far. `what` is the
// function that was called, `parameter` which of its arguments.
import { CodedError } from './error';
import { nearestName } from './nearest';

/** An options object: an option that is given by its place would be left out in silence. @throws ERR_ARGUMENT */
export function checkOptions(what: string, options: unknown): asserts options is object {
  if (typeof options !== 'object' || options === null || Array.isArray(options))
    throw wrongKind(what, 'options', 'an object', options);
}

/** The keys of options of type `T`, each of them: the compiler misses one that is left out. */
export type KnownOptions<T> = Readonly<Record<keyof T, true>>;

/**
 * As {@link checkOptions}; also refuses a key that none has: JavaScript would leave out what a typing mistake asks for. A
 * `signal` among them must be one.
 * @throws ERR_ARGUMENT
 */
export function checkKnownOptions<T>(
  what: string,
  options: T,
  known: Readonly<Record<keyof T, unknown>>,
): void {
  checkOptions(what, options);
  if ('signal' in options) checkSignal(what, options.signal);
  const names = Object.keys(known);
  const unknown = Object.keys(options).find((key) => !names.includes(key));
  if (unknown === undefined) return;
  const nearest = nearestName(unknown, names);
  const hint = nearest ? `did you mean ${nearest}?` : `there are ${names.join(', ')}`;
  throw new CodedError('ERR_ARGUMENT', `${what}: there is no option "${unknown}"; ${hint}`);
}

/** @throws ERR_ARGUMENT unless `value` is an array */
export function checkArray(
  what: string,
  parameter: string,
  value: unknown,
): asserts value is readonly unknown[] {
  if (!Array.isArray(value)) throw wrongKind(what, parameter, 'an array', value);
}

/** @throws ERR_ARGUMENT unless `value` is a text */
export function checkText(what: string, parameter: string, value: unknown): asserts value is string {
  if (typeof value !== 'string') throw wrongKind(what, parameter, 'a text', value);
}

/** @throws ERR_ARGUMENT unless `value` is an array of texts */
export function checkTexts(what: string, parameter: string, value: unknown): void {
  if (!Array.isArray(value)) throw wrongKind(what, parameter, 'an array of texts', value);
  for (const [i, text] of value.entries()) checkText(what, `${parameter}[${i}]`, text);
}

/** @throws ERR_ARGUMENT unless `body` is a function */
export function checkFunction(what: string, parameter: string, body: unknown): void {
  if (typeof body !== 'function') throw wrongKind(what, parameter, 'a function', body);
}

/** @throws ERR_ARGUMENT unless `value` is a number other than NaN */
export function checkNumber(what: string, parameter: string, value: unknown): asserts value is number {
  if (typeof value !== 'number' || Number.isNaN(value)) throw wrongKind(what, parameter, 'a number', value);
}

/** @throws ERR_ARGUMENT unless `value` is a whole number of at least `least` */
export function checkSize(what: string, parameter: string, value: unknown, least = 1): void {
  if (!Number.isSafeInteger(value) || (value as number) < least)
    throw wrongKind(what, parameter, `a whole number of at least ${least}`, value);
}

/** @throws ERR_ARGUMENT unless `value` is a boolean, or undefined */
export function checkSwitch(what: string, parameter: string, value: unknown): void {
  if (value !== undefined && typeof value !== 'boolean') throw wrongKind(what, parameter, 'a boolean', value);
}

/**
 * The `signal` of options. A controller in its place would never stop anything.
 * @throws ERR_ARGUMENT unless `value` is an AbortSignal, or undefined
 */
function checkSignal(what: string, value: unknown): void {
  if (value !== undefined && typeof (value as AbortSignal | null)?.addEventListener !== 'function')
    throw wrongKind(what, 'signal', 'an AbortSignal, as that of an AbortController', value);
}

/** @throws ERR_ARGUMENT unless `value` was made by the class */
export function checkInstance<T>(
  what: string,
  parameter: string,
  value: unknown,
  type: abstract new (...words: never[]) => T,
): asserts value is T {
  if (!(value instanceof type)) throw wrongKind(what, parameter, `of the class ${type.name}`, value);
}

/** Runs `body`; what it refuses is told under the name of the function. */
export function named<T>(what: string, body: () => T): T {
  try {
    return body();
  } catch (error) {
    if (!(error instanceof CodedError) || error.message.startsWith(`${what}: `)) throw error;
    throw new CodedError(error.code, `${what}: ${error.message}`, { cause: error });
  }
}

/** The error for a value of a wrong kind. */
export function wrongKind(what: string, parameter: string, wanted: string, value: unknown): CodedError {
  return new CodedError('ERR_ARGUMENT', `${what}: ${parameter} must be ${wanted}, got ${kindOf(value)}`);
}

/** A value in a few words. */
export function kindOf(value: unknown): string {
  if (Array.isArray(value)) return 'an array';
  if (typeof value === 'string') return JSON.stringify(value.slice(0, 40));
  if (typeof value === 'object' && value !== null)
    return `an object (${value.constructor?.name ?? 'no class'})`;
  return typeof value === 'function' ? 'a function' : String(value);
}
