// How an optimizer's state is laid out in a state dict.
import { CodedError } from '../base/error';
import { PyFloat, RawTensor } from '../io';
import { keep } from '../tensor/scope';
import { type Tensor, tensor } from '../tensor/tensor';

/** A moment, read when it is written to a file. */
export function raw(x: Tensor): RawTensor {
  return new RawTensor('float32', x.shape, async () => {
    const data = await x.data();
    return new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
  });
}

/** A moment out of a state dict. @throws ERR_CHECKPOINT_MISMATCH */
export async function moment(
  source: string,
  { name, tensor: parameter }: { name: string; tensor: Tensor },
  value: unknown,
): Promise<Tensor> {
  if (!(value instanceof RawTensor) || String(value.shape) !== String(parameter.shape)) {
    const found = value instanceof RawTensor ? `[${value.shape}]` : 'missing';
    throw mismatch(source, `a moment of ${name} is ${found}, not [${parameter.shape}]`);
  }
  const values = await value.float32();
  return keep(tensor(values, parameter.shape, { device: parameter.device }));
}

/** How often a parameter was updated: an integer, or as current torch writes it, a tensor. @throws ERR_CHECKPOINT_MISMATCH */
export async function stepOf(source: string, { name }: { name: string }, value: unknown): Promise<bigint> {
  const step = numberOf(
    source,
    `the step of ${name}`,
    value instanceof RawTensor && value.size === 1 ? await value.item() : value,
  );
  if (Number.isSafeInteger(step)) return BigInt(step);
  throw mismatch(source, `the step of ${name} is ${step}`);
}

/** A number from 0 on, as it is read from a file or as a state dict has it. @throws ERR_CHECKPOINT_MISMATCH */
export function numberOf(source: string, what: string, value: unknown): number {
  const number = value instanceof PyFloat ? value.value : value;
  if (typeof number === 'number' && number >= 0 && number < Number.POSITIVE_INFINITY) return number;
  throw mismatch(source, `${what} is ${number === undefined ? 'missing' : String(number)}`);
}

/** The value of `key` where `value` is a dictionary that has it. */
export function field(value: unknown, key: string): unknown {
  return value instanceof Map ? value.get(key) : undefined;
}

export function mismatch(source: string, what: string): CodedError {
  return new CodedError('ERR_CHECKPOINT_MISMATCH', `${source}: the optimizer state does not fit: ${what}`);
}
