// How an optimizer's state is laid out in a state dict.
import { CodedError } from '../base/error';
import { RawTensor } from '../io';
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

/** The value of `key` where `value` is a dictionary that has it. */
export function field(value: unknown, key: string): unknown {
  return value instanceof Map ? value.get(key) : undefined;
}

export function mismatch(source: string, what: string): CodedError {
  return new CodedError('ERR_CHECKPOINT_MISMATCH', `${source}: the optimizer state does not fit: ${what}`);
}
