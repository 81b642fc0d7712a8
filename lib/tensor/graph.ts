import { checkFunction, checkKnownOptions } from '../base/check';
import { CodedError } from '../base/error';
import { type Device, resolveDevice, synchronize } from '../native/device';
import { type DeviceType, type NativeRecording, native } from '../native/load';
import { noGrad } from './autograd';
import { type Disposable, keep, resourcesIn, scope } from './scope';

/**
 * A computation that was recorded once and is queued again, whole, by one call: a step of hundreds of kernels then costs
 * the host microseconds. Made by {@link captureGraph}.
 */
export class Graph<T> implements Disposable {
  private recording: NativeRecording | null;

  /** The addon's handle. @throws ERR_DISPOSED @internal */
  get handle(): NativeRecording {
    if (this.recording === null) throw new CodedError('ERR_DISPOSED', 'a graph was used after dispose');
    return this.recording;
  }

  /** @internal */
  constructor(
    recording: NativeRecording,
    /** What the function returned. Its tensors have new values after each replay; they belong to the graph. */
    readonly outputs: T,
    private readonly owned: readonly Disposable[],
  ) {
    this.recording = recording;
    keep(this);
  }

  /** Queues the computation, on the values that the tensors it uses have when it runs. @throws ERR_DISPOSED */
  replay(): T {
    native().replay(this.handle);
    return this.outputs;
  }

  /** Releases the outputs and the memory of the recording. Idempotent. */
  dispose(): void {
    if (this.recording === null) return;
    for (const tensor of this.owned) tensor.dispose();
    native().releaseRecording(this.recording);
    this.recording = null;
  }

  [Symbol.dispose](): void {
    this.dispose();
  }
}

/**
 * Records what `body` queues on a CUDA device. It runs twice: once as always, so that everything is loaded and cached,
 * and once recorded. Nothing is differentiated. Tensors from outside that it uses must live as long as the graph and are
 * read at each replay: give them new values with `assign`. Values that it takes from the host (numbers, `tensor(…)`) are
 * those of the recording for ever.
 *
 * @param body synchronous; returns a tensor, or tensors in arrays and plain objects
 * @throws ERR_DEVICE on a device that does not record (the CPU), or when `body` reads a tensor
 *
 * @example
 * const graph = await captureGraph(() => softmax(mul(x, 2)), { device: 'cuda' });
 * x.assign(y);
 * const scores = await graph.replay().data();
 */
export async function captureGraph<T>(body: () => T, options: { device?: Device } = {}): Promise<Graph<T>> {
  checkFunction('captureGraph', 'body', body);
  checkKnownOptions('captureGraph', options, { device: true });
  const device = resolveDevice(options.device);
  const run = () => noGrad(() => scope(body));
  scope(() => {
    run();
  });
  await synchronize(device);
  return recordGraph(run, device);
}

let capturing = false;

/** Whether what is queued now is being recorded: a recording cannot be replayed or made inside another. @internal */
export function isCapturing(): boolean {
  return capturing;
}

/**
 * {@link captureGraph} without the first run: all that `body` loads, caches or waits for must have happened, and it may
 * differentiate.
 *
 * @param body what it returns belongs to the graph
 * @param beside a graph that shares its memory with the new one. What one of the two leaves for the other is held by a
 *   tensor until both are recorded; all else of theirs holds until the other's next replay only
 * @internal
 */
export function recordGraph<T>(body: () => T, device: DeviceType, beside?: Graph<unknown>): Graph<T> {
  native().beginRecording(device, beside?.handle);
  let outputs: T;
  capturing = true;
  try {
    outputs = scope(body);
    capturing = false;
  } catch (error) {
    capturing = false;
    try {
      native().releaseRecording(native().endRecording(device));
    } catch {
      // The error of the body came first.
    }
    throw error;
  }
  const recording = native().endRecording(device);
  const owned = [...resourcesIn(outputs)];
  for (const tensor of owned) keep(tensor);
  return new Graph(recording, outputs, owned);
}
