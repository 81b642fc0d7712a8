import { native } from '../native/load';
import { keep } from '../tensor/scope';
import { Tensor } from '../tensor/tensor';
import type { ProcessGroup } from './process_group';

/** Elements after which a bucket is full (16 MB): large enough that the price of a message does not count. */
const bucketElements = 2 ** 22;

/** Gives every process the parameters of rank 0, so that all begin with the same. Queued. */
export function shareParameters(parameters: readonly Tensor[], group: ProcessGroup): void {
  group.broadcast(parameters);
}

/**
 * Replaces gradients by their mean over all processes, after the backward pass. As {@link GradientBuckets} does it.
 *
 * @throws ERR_DISTRIBUTED
 */
export async function averageGradients(parameters: readonly Tensor[], group: ProcessGroup): Promise<void> {
  await new GradientBuckets(parameters, group).finish();
}

/**
 * Replaces gradients by their mean over all processes while the backward pass still runs. Parameters are put into buckets
 * in reverse order, which is about the order in which their gradients come; a bucket travels once its gradients and all
 * buckets before it are queued, so every process sends the same in the same order, whatever its backward pass looked like.
 *
 * Where some process has no gradient for a parameter (a batch whose videos were all skipped, a branch that was not taken)
 * it counts as zero there; where none has, there is none.
 *
 * @example
 * const buckets = new GradientBuckets([...net.parameters()], group);
 * backward(loss, undefined, (leaf) => buckets.finished(leaf));
 * await buckets.finish();
 * optimizer.step();
 */
export class GradientBuckets {
  private readonly buckets: Tensor[][] = [];
  private readonly bucketOf = new Map<Tensor, number>();
  /** Parameters of this update whose gradient is complete. */
  private readonly complete = new Set<Tensor>();
  /** How many of each bucket are not. */
  private missing: number[] = [];
  /** The first bucket that has not been sent. */
  private next = 0;
  /** Parameters without a gradient of this process's own. */
  private readonly without = new Set<Tensor>();

  /** @param parameters the same everywhere, in the order in which the forward pass uses them */
  constructor(
    private readonly parameters: readonly Tensor[],
    private readonly group: ProcessGroup,
  ) {
    let elements = Number.POSITIVE_INFINITY;
    for (const parameter of [...parameters].reverse()) {
      if (elements >= bucketElements) {
        this.buckets.push([]);
        elements = 0;
      }
      elements += parameter.size;
      this.buckets.at(-1)!.push(parameter);
      this.bucketOf.set(parameter, this.buckets.length - 1);
    }
    this.begin();
  }

  /** Says that all that adds to the gradient of `parameter` is queued. Others than the given ones are ignored. */
  finished(parameter: Tensor): void {
    const bucket = this.bucketOf.get(parameter);
    if (bucket === undefined || this.complete.has(parameter)) return;
    this.complete.add(parameter);
    this.missing[bucket]!--;
    while (this.missing[this.next] === 0) this.send();
  }

  /**
   * Sends what is left, after the backward pass. The means are there for whatever is queued once this has resolved.
   *
   * @throws ERR_DISTRIBUTED
   */
  async finish(): Promise<void> {
    while (this.next < this.buckets.length) this.send();
    this.group.wait(this.parameters);
    const own = this.parameters.map((parameter) => (this.without.has(parameter) ? '0' : '1')).join('');
    this.begin();
    const everyone = await this.group.exchange(own);
    this.parameters.forEach((parameter, i) => {
      if (everyone.some((theirs) => theirs[i] === '1')) return;
      parameter.grad?.dispose();
      parameter.grad = null;
    });
  }

  private begin(): void {
    this.missing = this.buckets.map(({ length }) => length);
    this.next = 0;
    this.complete.clear();
    this.without.clear();
  }

  private send(): void {
    const bucket = this.buckets[this.next++]!;
    const gradients = bucket.map((parameter) => {
      if (parameter.grad === null) {
        this.without.add(parameter);
        const zeros = native().full(parameter.shape, 0, 'float32', parameter.device);
        parameter.grad = keep(new Tensor(zeros));
      }
      return parameter.grad;
    });
    this.group.startAllReduce(gradients, 1 / this.group.worldSize);
  }
}
