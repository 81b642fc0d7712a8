import { CodedError } from '../base/error';
import { type Device, emptyCache, resolveDevice, synchronize } from '../native/device';
import { type Graph, recordGraph } from '../tensor/graph';
import type { Disposable } from '../tensor/scope';
import type { Tensor } from '../tensor/tensor';
import type { AdamW } from './adamw';

/** What a training step queues. Whatever differs from step to step it reads from tensors that are made before. */
export interface StepWork {
  optimizer: AdamW;
  /** Forward and backward pass of a micro-batch: adds to the gradients of the optimizer's parameters. */
  accumulate(): void;
  /** What follows the last micro-batch, with `optimizer.apply()` at its end. */
  update(): void;
}

export interface StepGraphOptions {
  device?: Device;
  /** Micro-batches of an update (default 1). */
  accumulation?: number;
}

/**
 * A training step as recorded work: the first micro-batch of an update, which makes the gradients, the further ones,
 * which add to them, and the update. Bit for bit what the step computes when it is not recorded.
 *
 * The three share one pool of memory, so activations take it once. Gradients lie in it; those of a group are at the
 * parameters, where operations outside can add to them, from its first micro-batch to its update. Results that are read
 * later belong in tensors made before.
 */
export class StepGraph implements Disposable {
  private attached = false;

  private constructor(
    private readonly optimizer: AdamW,
    private readonly gradients: ReadonlyMap<Tensor, Tensor>,
    private readonly copies: ReadonlyMap<Tensor, Tensor | null>,
    private readonly first: Graph<void>,
    private readonly further: Graph<void> | null,
    private readonly last: Graph<void>,
  ) {}

  /**
   * Records a step, without running it. The same work must have run once as it is, so that everything is loaded and
   * cached. Present gradients are dropped.
   *
   * @throws ERR_DEVICE on a device that does not record, or when the work reads a tensor; ERR_OUT_OF_MEMORY. All is then
   *   as before, but for the gradients
   */
  static async record(work: StepWork, options: StepGraphOptions = {}): Promise<StepGraph> {
    const { optimizer } = work;
    const device = resolveDevice(options.device);
    const parameters = optimizer.parameters();
    optimizer.zeroGrad();
    await synchronize(device);
    // What running the step has left in the cache is what the recording takes anew.
    emptyCache(device);
    // The update writes 16-bit copies along, and the steps find them current: none of them makes one.
    for (const parameter of parameters) parameter.refreshCasts();
    // Nothing that is recorded has run: a copy that was made there holds nothing yet.
    const outdateCopies = () => {
      for (const parameter of parameters) parameter.changed();
    };
    const made: Graph<void>[] = [];
    const add = (body: () => void) => {
      made.push(recordGraph(body, device, made[0]));
      return made.at(-1)!;
    };
    try {
      const first = add(work.accumulate);
      const further = (options.accumulation ?? 1) > 1 ? add(work.accumulate) : null;
      optimizer.prepare();
      const copies = new Map(parameters.map((parameter) => [parameter, parameter.currentCopy]));
      const last = add(work.update);
      outdateCopies();
      const gradients = new Map<Tensor, Tensor>();
      for (const parameter of parameters) {
        if (parameter.grad) gradients.set(parameter, parameter.grad);
        parameter.grad = null;
      }
      return new StepGraph(optimizer, gradients, copies, first, further, last);
    } catch (error) {
      for (const graph of made) graph.dispose();
      optimizer.zeroGrad();
      outdateCopies();
      throw error;
    }
  }

  /** Whether the gradients at the parameters are those of this graph, of a group of micro-batches that has begun. */
  get holdsGradients(): boolean {
    return this.attached;
  }

  /** Queues a micro-batch: the first of a group, or a further one when gradients are held. */
  accumulate(): void {
    if (!this.attached) {
      // Those of weights that others have changed, if any.
      for (const parameter of this.copies.keys()) parameter.refreshCasts();
      this.first.replay();
      for (const [parameter, gradient] of this.gradients) parameter.grad = gradient;
      this.attached = true;
      return;
    }
    if (this.further === null)
      throw new CodedError('ERR_INTERNAL', 'a step of one micro-batch was given a second');
    this.further.replay();
  }

  /** Queues the update by the gradients that are held, at the optimizer's present rates, and lets go of them. */
  update(): void {
    this.optimizer.prepare();
    this.last.replay();
    for (const parameter of this.gradients.keys()) parameter.changed(this.copies.get(parameter));
    this.dropGradients();
  }

  /** Takes the gradients away from the parameters: the next micro-batch begins a group. */
  dropGradients(): void {
    if (!this.attached) return;
    for (const parameter of this.gradients.keys()) parameter.grad = null;
    this.attached = false;
  }

  /** Releases the recordings, their memory and the gradients. Idempotent. */
  dispose(): void {
    this.dropGradients();
    for (const gradient of this.gradients.values()) gradient.dispose();
    for (const graph of [this.first, this.further, this.last]) graph?.dispose();
  }
}
