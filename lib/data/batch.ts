import { CodedError } from '../base/error';
import type { DeviceType } from '../native/load';
import type { Tensor } from '../tensor/tensor';
import { type BatchPixels, NormalizedPixels } from './batch_pixels';

/** A sample that could not be loaded, or was, from a video with damaged frames. */
export interface SampleFailure {
  epoch: number;
  /** Index in the data set. */
  index: number;
  /** Path of the video, or archive and member. */
  path: string;
  /** Line of the list, as `train.txt:17`. */
  where: string;
  /** Stable error code, such as ERR_VIDEO_DECODE; VIDEO_DAMAGED when the sample was loaded. */
  code: string;
  reason: string;
}

/** A failure in words: the line of the list, the video (which most reasons name) and the reason. */
export function failureText({
  where,
  path,
  reason,
}: Pick<SampleFailure, 'where' | 'path' | 'reason'>): string {
  // Archives with labels have no list: there the place is the video.
  return where === path || reason.includes(path) ? `${where}: ${reason}` : `${where}: ${path}: ${reason}`;
}

/** Labelled videos, ready for a model. */
export class Batch {
  private released = false;

  /** @internal */
  constructor(
    /** Number of this batch within its epoch, from 0. */
    readonly index: number,
    private readonly pixels: BatchPixels,
    /** [B, T, 3, S, S], or [B, V, T, 3, S, S] with the V views of a test. */
    readonly shape: readonly number[],
    /** [B], class numbers, each sample's first one. */
    readonly labels: Int32Array,
    /** [B], all class numbers of each sample. */
    readonly labelSets: readonly (readonly number[])[],
    /** [B], indices in the data set (of the substitute, where there is one). */
    readonly indices: Int32Array,
    /** float32 [B, K], smoothed and mixed; only with mixing, or when a sample has several labels. */
    readonly targets: Float32Array | undefined,
    /** The samples that failed while this batch was made. */
    readonly failed: readonly SampleFailure[],
    /**
     * Samples of the batch whose frames could be decoded but may show traces of damaged ones before them. They are used
     * under every rule for bad videos: nothing that was asked for is missing.
     */
    readonly damaged: readonly SampleFailure[],
  ) {}

  /** How long the consumer waited for this batch; set when it is handed over. */
  waitSeconds = 0;

  /**
   * Normalised pixels of `shape`, contiguous, in host memory.
   * @throws ERR_DISPOSED after {@link release}; ERR_ARGUMENT when the loader leaves pixel work to the device
   */
  get frames(): Float32Array {
    this.checkHeld();
    if (this.pixels instanceof NormalizedPixels) return this.pixels.data;
    throw new CodedError('ERR_ARGUMENT', "this loader's batches are finished on the device: use tensor()");
  }

  /**
   * The pixels on a device, float32 of `shape`; with `view` those of one view, [B, T, 3, S, S]. The caller's to dispose.
   * @throws ERR_DISPOSED after {@link release}
   */
  tensor(device: DeviceType, view?: number): Tensor {
    this.checkHeld();
    return this.pixels.tensor(device, view);
  }

  /** Gives the pixel buffer back to the loader for a later batch. Without it the garbage collector takes it. */
  release(): void {
    if (this.released) return;
    this.released = true;
    this.pixels.release();
  }

  private checkHeld(): void {
    if (!this.released) return;
    throw new CodedError(
      'ERR_DISPOSED',
      `the frames of batch ${this.index} were released; read them before release()`,
    );
  }
}

/** Pixel buffers that go round between loader and consumer; at most `keep` idle ones are held. */
export class BufferRing {
  private readonly idle: Float32Array[] = [];

  /** @param length elements of a buffer */
  constructor(
    private readonly length: number,
    private readonly keep: number,
  ) {}

  take(): Float32Array {
    return this.idle.pop() ?? new Float32Array(this.length);
  }

  readonly give = (buffer: Float32Array): void => {
    if (this.idle.length < this.keep) this.idle.push(buffer);
  };
}
