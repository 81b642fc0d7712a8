// What operations say of wrong arguments. TypeScript finds most of them; calls from JavaScript come this far.
import { CodedError } from '../base/error';
import { Tensor } from './tensor';

/** @throws ERR_ARGUMENT unless `value` is a tensor, ERR_DISPOSED for one that was disposed */
export function checkTensor(op: string, parameter: string, value: unknown): asserts value is Tensor {
  if (!(value instanceof Tensor)) throw wrongKind(op, parameter, 'a tensor', value);
  if (value.disposed) {
    throw new CodedError(
      'ERR_DISPOSED',
      `${op}: ${parameter} is a tensor ${value.dtype}[${value.shape.join(', ')}] that was disposed`,
    );
  }
}

/** As {@link checkTensor}, where null and undefined stand for none. */
export function checkOptionalTensor(op: string, parameter: string, value: unknown): void {
  if (value !== null && value !== undefined) checkTensor(op, parameter, value);
}

/** @throws ERR_ARGUMENT unless `list` is an array of tensors, ERR_DISPOSED */
export function checkTensors(op: string, list: unknown): asserts list is readonly Tensor[] {
  if (!Array.isArray(list)) throw wrongKind(op, 'list', 'an array of tensors', list);
  for (let i = 0; i < list.length; i++) checkTensor(op, `list[${i}]`, list[i]);
}

/** An options object: an option that is given by its place would be left out in silence. @throws ERR_ARGUMENT */
export function checkOptions(op: string, options: unknown): asserts options is object {
  if (typeof options !== 'object' || options === null) throw wrongKind(op, 'options', 'an object', options);
}

/** @throws ERR_ARGUMENT unless `shape` is an array */
export function checkArray(
  op: string,
  parameter: string,
  value: unknown,
): asserts value is readonly unknown[] {
  if (!Array.isArray(value)) throw wrongKind(op, parameter, 'an array', value);
}

/** @throws ERR_ARGUMENT unless `body` is a function */
export function checkFunction(op: string, parameter: string, body: unknown): void {
  if (typeof body !== 'function') throw wrongKind(op, parameter, 'a function', body);
}

/** @throws ERR_ARGUMENT unless `value` is a number other than NaN */
export function checkNumber(op: string, parameter: string, value: unknown): asserts value is number {
  if (typeof value !== 'number' || Number.isNaN(value)) throw wrongKind(op, parameter, 'a number', value);
}

/** @throws ERR_ARGUMENT unless `value` is a boolean, or undefined */
export function checkSwitch(op: string, parameter: string, value: unknown): void {
  if (value !== undefined && typeof value !== 'boolean') throw wrongKind(op, parameter, 'a boolean', value);
}

/**
 * The number, from 0, of a dimension of `x`; negative ones count from the end.
 * @throws ERR_ARGUMENT unless `axis` is an integer, ERR_SHAPE when there is no such dimension
 */
export function checkAxis(op: string, axis: unknown, rank: number): number {
  if (!Number.isInteger(axis)) throw wrongKind(op, 'axis', 'an integer', axis);
  const place = (axis as number) < 0 ? (axis as number) + rank : (axis as number);
  if (place >= 0 && place < rank) return place;
  throw new CodedError('ERR_SHAPE', `${op}: axis ${axis} is outside ${rank} dimensions`);
}

/** Runs `body`; what it refuses is told under the name of the operation. */
export function named<T>(op: string, body: () => T): T {
  try {
    return body();
  } catch (error) {
    if (!(error instanceof CodedError) || error.message.startsWith(`${op}: `)) throw error;
    throw new CodedError(error.code, `${op}: ${error.message}`, { cause: error });
  }
}

function wrongKind(op: string, parameter: string, wanted: string, value: unknown): CodedError {
  return new CodedError('ERR_ARGUMENT', `${op}: ${parameter} must be ${wanted}, got ${kindOf(value)}`);
}

/** A value in a few words. */
function kindOf(value: unknown): string {
  if (value instanceof Tensor) return 'a tensor';
  if (Array.isArray(value)) return 'an array';
  if (typeof value === 'string') return JSON.stringify(value.slice(0, 40));
  if (typeof value === 'object' && value !== null)
    return `an object (${value.constructor?.name ?? 'no class'})`;
  return typeof value === 'function' ? 'a function' : String(value);
}
