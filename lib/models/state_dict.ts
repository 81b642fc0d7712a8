import { checkInstance } from '../base/check';
import { RawTensor } from '../io';
import { Module } from '../nn/module';

/**
 * A module's parameters as checkpoint tensors, in the order of `namedParameters`. A tensor's values are fetched when
 * it is written, so write before the next update.
 */
export function rawStateDict(module: Module): Map<string, RawTensor> {
  checkInstance('rawStateDict', 'module', module, Module);
  return new Map(
    Array.from(module.namedParameters(), ([name, parameter]) => [
      name,
      new RawTensor(parameter.dtype, parameter.shape, async () => {
        const data = await parameter.data();
        return new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
      }),
    ]),
  );
}
