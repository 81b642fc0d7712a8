import { checkInstance, checkSize } from '../base/check';
import { Initializer } from './init';

/**
 * What a layer is made with.
 * @param sizes by the names of the parameters
 * @throws ERR_ARGUMENT for a size that is no whole number above 0, or an `init` that is no Initializer
 */
export function checkLayer(layer: string, sizes: Record<string, number>, init: unknown): void {
  for (const [name, size] of Object.entries(sizes)) checkSize(layer, name, size);
  checkInstance(layer, 'init', init, Initializer);
}
