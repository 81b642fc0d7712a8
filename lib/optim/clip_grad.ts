import { checkNumber } from '../base/check';
import { CodedError } from '../base/error';
import { div, minimum } from '../ops/binary';
import { gradNorm, scaleInPlace } from '../ops/tensor_list';
import { noGrad } from '../tensor/autograd';
import { checkTensors } from '../tensor/check';
import { scope } from '../tensor/scope';
import { type Tensor, tensor } from '../tensor/tensor';

/**
 * Scales all gradients together so that their Euclidean norm is at most `maxNorm` (Pascanu et al., 2013). Nothing waits:
 * norm and scale stay on the device.
 *
 * @param maxNorm above 0; Infinity only measures
 * @returns the norm before, a float32 scalar to be disposed; null when there are no gradients
 * @throws ERR_ARGUMENT
 *
 * @example
 * backward(loss);
 * clipGradNorm(optimizer.parameters(), 1)?.dispose();
 */
export function clipGradNorm(parameters: readonly Tensor[], maxNorm: number): Tensor | null {
  checkTensors('clipGradNorm', parameters, 'parameters');
  checkNumber('clipGradNorm', 'maxNorm', maxNorm);
  if (!(maxNorm > 0))
    throw new CodedError('ERR_ARGUMENT', `clipGradNorm: maxNorm must be above 0, got ${maxNorm}`);
  const gradients = parameters.flatMap(({ grad }) => (grad ? [grad] : []));
  if (gradients.length === 0) return null;
  return noGrad(() =>
    scope(() => {
      const norm = gradNorm(gradients);
      const limit = tensor([maxNorm], [], { device: norm.device });
      scaleInPlace(gradients, minimum(div(limit, norm), 1));
      return norm;
    }),
  );
}
