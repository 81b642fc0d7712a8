import { checkKnownOptions, type KnownOptions } from '../base/check';
import { native } from '../native/load';
import { unaryOutput } from '../tensor/autograd';
import { checkTensor } from '../tensor/check';
import type { Tensor } from '../tensor/tensor';

export interface CrossEntropyOptions {
  /** Part of each target that is spread evenly over all classes, in [0, 1). Default 0. */
  labelSmoothing?: number;
}

const keys: KnownOptions<CrossEntropyOptions> = { labelSmoothing: true };

/**
 * Mean over the batch of `-sum(target * logSoftmax(logits))`. There is no gradient by the targets. A logit of `-Infinity`
 * whose target is 0 counts for nothing.
 *
 * @param logits float32 or bfloat16 [B, K]
 * @param targets class labels, int32 or int64 [B], or soft targets, float32 [B, K]
 * @returns float32 scalar
 * @throws ERR_SHAPE, ERR_DTYPE; ERR_INDEX_RANGE at the next await, naming row, label and K, for a label outside 0..K-1
 *
 * @example
 * const loss = crossEntropy(tensor([[0, 0]]), tensor(new Int32Array([1]))); // 0.693
 */
export function crossEntropy(logits: Tensor, targets: Tensor, options: CrossEntropyOptions = {}): Tensor {
  checkTensor('cross_entropy', 'logits', logits);
  checkTensor('cross_entropy', 'targets', targets);
  checkKnownOptions('cross_entropy', options, keys);
  return unaryOutput(
    'cross_entropy',
    [logits],
    (context) => {
      const [loss, dlogits] = native().crossEntropy(
        logits.handle,
        targets.handle,
        options.labelSmoothing === undefined ? 0 : options.labelSmoothing,
        context.recording,
      );
      if (dlogits) context.save(dlogits);
      return loss;
    },
    ([dy], [dlogits]) => [native().binary('mul', dlogits!, dy!)],
  );
}
