import { type CodedError, hasCode } from '../base/error';
import { warn } from '../base/warning';
import { emptyCache } from '../native/device';
import { native } from '../native/load';
import { isRecording, noGrad } from '../tensor/autograd';
import { type Graph, isCapturing, recordGraph } from '../tensor/graph';
import { type Disposable, keep, scope } from '../tensor/scope';
import { describe, Tensor } from '../tensor/tensor';

interface Recording<R> {
  /** Where the recorded work reads its input; made outside the recording's memory. */
  input: Tensor;
  graph: Graph<R>;
}

/** Recordings that are kept, those used last. They share one memory, as large as the largest needs it. */
const MOST = 4;
/** Shapes that came once and are remembered. */
const MOST_SEEN = 64;

/**
 * A function of one tensor and of parameters, recorded on CUDA for each shape that comes twice and replayed from then on:
 * hundreds of launches become one call, so that small batches are not a matter of how fast the host queues them. Elsewhere,
 * and where a gradient is wanted, the function runs as it is. Results are the same bits either way.
 */
export class RecordedForward<R extends Readonly<Record<string, Tensor>>> implements Disposable {
  private readonly recordings = new Map<string, Recording<R>>();
  private readonly seen = new Set<string>();
  private refused = false;

  /**
   * @param body a function of its input and of `parameters` alone, which are changed in place if at all; it takes no values
   *   from the host that differ from call to call
   */
  constructor(
    private readonly body: (input: Tensor) => R,
    private readonly parameters: () => readonly Tensor[],
  ) {}

  /** The function's value: tensors of the caller's own. */
  run(input: Tensor): R {
    if (!this.takes(input)) return this.body(input);
    const key = describe(input);
    const recording = this.recordings.get(key) ?? this.record(key, input);
    if (recording === null) return noGrad(() => this.body(input));
    this.recordings.delete(key);
    this.recordings.set(key, recording);
    // The recorded work finds the weights' 16-bit copies where they were; that they are current is seen to here.
    for (const parameter of this.parameters()) parameter.refreshCasts();
    recording.input.assign(input);
    return copies(recording.graph.replay());
  }

  /** Releases all recordings and their memory; shapes that come again are recorded anew. */
  dispose(): void {
    for (const { input, graph } of this.recordings.values()) {
      input.dispose();
      graph.dispose();
    }
    this.recordings.clear();
    this.seen.clear();
  }

  private takes(input: Tensor): boolean {
    if (input.device !== 'cuda' || this.refused || isCapturing()) return false;
    return !isRecording() || !(input.requiresGrad || this.parameters().some((one) => one.requiresGrad));
  }

  /** Null where the shape comes for the first time, which loads and caches all there is to, or cannot be recorded. */
  private record(key: string, input: Tensor): Recording<R> | null {
    if (!this.seen.has(key)) {
      if (this.seen.size >= MOST_SEEN) this.seen.clear();
      this.seen.add(key);
      return null;
    }
    const fixed = keep(new Tensor(native().emptyTensor(input.shape, input.dtype, input.device)));
    try {
      for (const parameter of this.parameters()) parameter.refreshCasts();
      const [beside] = this.recordings.values();
      const graph = recordGraph(() => noGrad(() => this.body(fixed)), input.device, beside?.graph);
      const recording = { input: fixed, graph };
      this.recordings.set(key, recording);
      if (this.recordings.size > MOST) this.drop(this.recordings.keys().next().value!);
      return recording;
    } catch (error) {
      fixed.dispose();
      if (!hasCode(error, 'ERR_DEVICE') && !hasCode(error, 'ERR_OUT_OF_MEMORY')) throw error;
      this.dispose();
      emptyCache(input.device);
      this.refused = true;
      warn(
        'CUDA_GRAPH_REFUSED',
        `forward passes go on without CUDA graphs, because one could not be recorded: ${(error as CodedError).message}`,
      );
      return null;
    }
  }

  private drop(key: string): void {
    const { input, graph } = this.recordings.get(key)!;
    this.recordings.delete(key);
    this.seen.delete(key);
    input.dispose();
    graph.dispose();
  }
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
