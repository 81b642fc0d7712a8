import { native } from '../native/load';
import { Tensor } from '../tensor/tensor';
import type { ProcessGroup } from './process_group';

/** Gives every process the parameters of rank 0, so that all begin with the same. Queued. */
export function shareParameters(parameters: readonly Tensor[], group: ProcessGroup): void {
  group.broadcast(parameters);
}

/**
 * Replaces gradients by their mean over all processes. Where some process has no gradient for a parameter (a batch whose
 * videos were all skipped) it counts as zero there; where none has, there is none.
 *
 * @throws ERR_DISTRIBUTED
 */
export async function averageGradients(parameters: readonly Tensor[], group: ProcessGroup): Promise<void> {
  const own = parameters.map(({ grad }) => (grad ? '1' : '0')).join('');
  const everyone = await group.exchange(own);
  const present = parameters.filter((_, i) => everyone.some((theirs) => theirs[i] === '1'));
  for (const parameter of present) {
    parameter.grad ??= new Tensor(native().full(parameter.shape, 0, 'float32', parameter.device));
  }
  group.allReduce(
    present.map(({ grad }) => grad!),
    1 / group.worldSize,
  );
}
