import { checkFunction } from '../base/check';
import { type CodedError, hasCode } from '../base/error';
import { warn } from '../base/warning';
import { emptyCache, float32MatmulPrecision } from '../native/device';
import { type DeviceType, native } from '../native/load';
import { isRecording, noGrad } from '../tensor/autograd';
import { type Graph, isCapturing, recordGraph } from '../tensor/graph';
import { type Disposable, keep, scope } from '../tensor/scope';
import { describe, Tensor } from '../tensor/tensor';

interface Recording<R> {
  /** Where the recorded work reads its inputs; made outside the recording's memory. */
  inputs: readonly Tensor[];
  graph: Graph<R>;
}

/** Recordings that are kept, those used last. They share one memory, as large as the largest needs it. */
const MOST = 4;
/** Shapes that came once and are remembered. */
const MOST_SEEN = 64;

/**
 * A function of tensors and of parameters, recorded on CUDA for each shape that comes twice and replayed from then on:
 * hundreds of launches become one call, so that small batches are not a matter of how fast the host queues them. Elsewhere,
 * and where a gradient is wanted, the function runs as it is. Results are the same bits either way.
 */
export class RecordedForward<
  Inputs extends readonly [Tensor, ...Tensor[]],
  R extends Readonly<Record<string, Tensor>>,
> implements Disposable
{
  private readonly recordings = new Map<string, Recording<R>>();
  private readonly seen = new Set<string>();
  private refused = false;

  /**
   * @param body a function of its inputs, all on one device, and of `parameters` alone, which are changed in place if at all; it takes no values
   *   from the host that differ from call to call
   */
  constructor(
    private readonly body: (...inputs: Inputs) => R,
    private readonly parameters: () => readonly Tensor[],
  ) {
    checkFunction('RecordedForward', 'body', body);
    checkFunction('RecordedForward', 'parameters', parameters);
  }

  /** The function's value: tensors of the caller's own. */
  run(...inputs: Inputs): R {
    if (!this.takes(inputs)) return this.body(...inputs);
    const key = [float32MatmulPrecision(), ...inputs.map(describe)].join();
    const recording = this.recordings.get(key) ?? this.record(key, inputs);
    if (recording === null) return this.runBeside(inputs);
    this.recordings.delete(key);
    this.recordings.set(key, recording);
    // The recorded work finds the weights' 16-bit copies where they were; that they are current is seen to here.
    for (const parameter of this.parameters()) parameter.refreshCasts();
    for (const [i, input] of inputs.entries()) recording.inputs[i]!.assign(input);
    return copies(recording.graph.replay());
  }

  /** Releases all recordings and their memory; shapes that come again are recorded anew. */
  dispose(): void {
    for (const recording of this.recordings.values()) release(recording);
    this.recordings.clear();
    this.seen.clear();
  }

  private takes(inputs: Inputs): boolean {
    if (inputs[0].device !== 'cuda' || this.refused || isCapturing()) return false;
    return !isRecording() || ![...inputs, ...this.parameters()].some((one) => one.requiresGrad);
  }

  /** Null where the shape comes for the first time, which loads and caches all there is to, or cannot be recorded. */
  private record(key: string, given: Inputs): Recording<R> | null {
    if (!this.seen.has(key)) {
      if (this.seen.size >= MOST_SEEN) this.seen.clear();
      this.seen.add(key);
      return null;
    }
    try {
      const recording = this.attempt(given);
      this.recordings.set(key, recording);
      if (this.recordings.size > MOST) this.drop(this.recordings.keys().next().value!);
      return recording;
    } catch (error) {
      if (!hasCode(error, 'ERR_DEVICE') && !hasCode(error, 'ERR_OUT_OF_MEMORY')) throw error;
      this.giveUp(given[0].device);
      warn(
        'CUDA_GRAPH_REFUSED',
        `forward passes go on without CUDA graphs, because one could not be recorded: ${(error as CodedError).message}`,
      );
      return null;
    }
  }

  private attempt(given: Inputs): Recording<R> {
    const { device } = given[0];
    const inputs: Tensor[] = [];
    const make = () => {
      for (const { shape, dtype } of given.slice(inputs.length)) {
        inputs.push(keep(new Tensor(native().emptyTensor(shape, dtype, device))));
      }
      for (const parameter of this.parameters()) parameter.refreshCasts();
      const [beside] = this.recordings.values();
      const body = () => this.body(...(inputs as readonly Tensor[] as Inputs));
      return recordGraph(() => noGrad(body), device, beside?.graph);
    };
    try {
      // What the pass before has left in the cache is what the recording takes anew.
      return { inputs, graph: withRoom(device, make) };
    } catch (error) {
      for (const input of inputs) input.dispose();
      throw error;
    }
  }

  /** As it is. Recordings hold memory that no other work can use: they are given up where it is needed. */
  private runBeside(inputs: Inputs): R {
    const run = () => noGrad(() => this.body(...inputs));
    try {
      return run();
    } catch (error) {
      if (this.recordings.size === 0 || !hasCode(error, 'ERR_OUT_OF_MEMORY')) throw error;
      this.giveUp(inputs[0].device);
      const result = run();
      warn(
        'CUDA_GRAPH_GIVEN_UP',
        `forward passes go on without CUDA graphs, because one beside them needed their memory: ${(error as CodedError).message}`,
      );
      return result;
    }
  }

  private giveUp(device: DeviceType): void {
    this.dispose();
    emptyCache(device);
    this.refused = true;
  }

  private drop(key: string): void {
    release(this.recordings.get(key)!);
    this.recordings.delete(key);
    this.seen.delete(key);
  }
}

/** Does the work once more, with nothing in the cache, where memory runs out. */
function withRoom<T>(device: DeviceType, work: () => T): T {
  try {
    return work();
  } catch (error) {
    if (!hasCode(error, 'ERR_OUT_OF_MEMORY')) throw error;
    emptyCache(device);
    return work();
  }
}

function release({ inputs, graph }: Recording<unknown>): void {
  for (const input of inputs) input.dispose();
  graph.dispose();
}

/** What a replay leaves is overwritten by the next one. */
function copies<R extends Readonly<Record<string, Tensor>>>(results: R): R {
  return scope(() =>
    Object.fromEntries(
      Object.entries(results).map(([name, { handle, shape, dtype, device }]) => {
        const copy = new Tensor(native().emptyTensor(shape, dtype, device));
        native().copyInto(copy.handle, handle);
        return [name, copy];
      }),
    ),
  ) as R;
}
