// What operations say of arguments that are no tensors, or no dimensions of one; see base/check.ts.
import { wrongKind } from '../base/check';
import { CodedError } from '../base/error';
import { describe, Tensor } from './tensor';

/** @throws ERR_ARGUMENT unless `value` is a tensor, ERR_DISPOSED for one that was disposed */
export function checkTensor(op: string, parameter: string, value: unknown): asserts value is Tensor {
  if (!(value instanceof Tensor)) throw wrongKind(op, parameter, 'a tensor', value);
  if (value.disposed)
    throw new CodedError('ERR_DISPOSED', `${op}: ${parameter}, ${describe(value)}, was disposed before`);
}

/** As {@link checkTensor}, where null and undefined stand for none. */
export function checkOptionalTensor(op: string, parameter: string, value: unknown): void {
  if (value !== null && value !== undefined) checkTensor(op, parameter, value);
}

/** @throws ERR_ARGUMENT unless `list` is an array of tensors, ERR_DISPOSED */
export function checkTensors(
  op: string,
  list: unknown,
  parameter = 'list',
): asserts list is readonly Tensor[] {
  if (!Array.isArray(list)) throw wrongKind(op, parameter, 'an array of tensors', list);
  for (let i = 0; i < list.length; i++) checkTensor(op, `${parameter}[${i}]`, list[i]);
}

/**
 * The number, from 0, of a dimension among `rank`; negative ones count from the end.
 * @throws ERR_ARGUMENT unless `axis` is an integer, ERR_SHAPE when there is no such dimension
 */
export function checkAxis(op: string, axis: unknown, rank: number): number {
  if (!Number.isInteger(axis)) throw wrongKind(op, 'axis', 'an integer', axis);
  const place = (axis as number) < 0 ? (axis as number) + rank : (axis as number);
  if (place >= 0 && place < rank) return place;
  throw new CodedError('ERR_SHAPE', `${op}: axis ${axis} is outside ${rank} dimensions`);
}
