import type { DeviceType } from '../native/load';
import type { CancelToken, VideoAddon, VideoHandle, VideoPlan } from '../native/video';
import { add, mul } from '../ops/binary';
import { embedding } from '../ops/gather';
import { concat, reshape } from '../ops/layout';
import { pixels } from '../ops/pixels';
import { noGrad } from '../tensor/autograd';
import { scope } from '../tensor/scope';
import { type Tensor, tensor } from '../tensor/tensor';
import { type Mix, mixFrames } from './mixup';

/** How a sample's pixels are read: from which video, by which plan. The deadline is the video's. */
export interface SampleRead {
  addon: VideoAddon;
  video: VideoHandle;
  plan: VideoPlan;
  cancel: CancelToken;
}

/** The pixels of a batch from their decoding until a model takes them. */
export interface BatchPixels {
  /** Decodes a sample into row `row`. */
  read(row: number, sample: SampleRead): Promise<void>;
  /** Leaves only these rows, in this order. */
  keep(rows: readonly number[]): void;
  mix(mix: Mix): Promise<void>;
  /** [B, ...shape of a sample] on the device; with `view` only that view, [B, T, 3, S, S]. */
  tensor(device: DeviceType, view?: number): Tensor;
  release(): void;
}

/** The parts of a sample's shape: [T, 3, S, S], or [V, T, 3, S, S] with V views. */
function partsOf(shape: readonly number[]): { views: number; clip: readonly number[] } {
  return shape.length === 5 ? { views: shape[0]!, clip: shape.slice(1) } : { views: 1, clip: shape };
}

const product = (shape: readonly number[]): number => shape.reduce((a, b) => a * b, 1);

/** Normalised on the host while they are decoded: float32 [B, ...shape]. */
export class NormalizedPixels implements BatchPixels {
  private readonly size: number;
  private rows = 0;

  /** @param buffer at least as many rows of `shape` as will be read */
  constructor(
    private readonly buffer: Float32Array,
    private readonly shape: readonly number[],
    private readonly recycle: (buffer: Float32Array) => void,
  ) {
    this.size = product(shape);
  }

  /** The numbers of all rows. */
  get data(): Float32Array {
    return this.buffer.subarray(0, this.rows * this.size);
  }

  async read(row: number, { addon, video, plan, cancel }: SampleRead): Promise<void> {
    await addon.runPlan(video, plan, this.buffer, row * this.size, undefined, cancel);
  }

  keep(rows: readonly number[]): void {
    rows.forEach((row, place) => {
      if (place < row) this.buffer.copyWithin(place * this.size, row * this.size, (row + 1) * this.size);
    });
    this.rows = rows.length;
  }

  mix(mix: Mix): Promise<void> {
    const [height, width] = this.shape.slice(-2) as [number, number];
    return mixFrames(this.data, width, height, mix);
  }

  tensor(device: DeviceType, view?: number): Tensor {
    if (view === undefined) return tensor(this.data, [this.rows, ...this.shape], { device });
    const { views, clip } = partsOf(this.shape);
    if (views === 1) return tensor(this.data, [this.rows, ...clip], { device });
    const clipSize = product(clip);
    const picked = new Float32Array(this.rows * clipSize);
    for (let row = 0; row < this.rows; row++) {
      const start = (row * views + view) * clipSize;
      picked.set(this.data.subarray(start, start + clipSize), row * clipSize);
    }
    return tensor(picked, [this.rows, ...clip], { device });
  }

  release(): void {
    this.recycle(this.buffer);
  }
}

/** Frames of one sample as they are shipped, and what is left to do. */
interface Shipped {
  /** [T, height, width, 3] */
  bytes: Uint8Array;
  width: number;
  height: number;
  plan: VideoPlan;
}

/**
 * Bytes of decoded frames; the device does the pixel work and the mixing, to the same numbers. A resize that shrinks
 * the picture is done on the host, where it leaves fewer bytes to ship.
 */
export class DecodedFrames implements BatchPixels {
  private samples: Shipped[] = [];
  private mixed: Mix | undefined;

  /** @param shape of a sample */
  constructor(private readonly shape: readonly number[]) {}

  async read(row: number, { addon, video, plan, cancel }: SampleRead): Promise<void> {
    const { width, height } = addon.videoInfo(video);
    const shrunk = plan.resize && plan.resize[0] * plan.resize[1] < width * height ? plan.resize : undefined;
    const [shippedWidth, shippedHeight] = shrunk ?? [width, height];
    const bytes = new Uint8Array(plan.frames.length * shippedWidth * shippedHeight * 3);
    if (shrunk) {
      const whole: VideoPlan['crops'] = [[0, 0, ...shrunk]];
      const resize = { ...plan, crops: whole, size: shrunk, flip: false, jitter: null, gray: false };
      await addon.runPlan(video, resize, bytes, 0, undefined, cancel);
    } else {
      await addon.readFrames(video, Int32Array.from(plan.frames), bytes, undefined, cancel);
    }
    this.samples[row] = {
      bytes,
      width: shippedWidth,
      height: shippedHeight,
      plan: shrunk ? { ...plan, resize: null } : plan,
    };
  }

  keep(rows: readonly number[]): void {
    this.samples = rows.map((row) => this.samples[row]!);
  }

  async mix(mix: Mix): Promise<void> {
    this.mixed = mix;
  }

  tensor(device: DeviceType, view?: number): Tensor {
    const { clip } = partsOf(this.shape);
    const shape = [this.samples.length, ...(view === undefined ? this.shape : clip)];
    return noGrad(() =>
      scope(() => {
        const clips = this.samples.map(({ bytes, width, height, plan }) => {
          const part = view === undefined ? { plan, first: 0 } : viewOf(plan, view, clip[0]!);
          const frame = width * height * 3;
          const used = bytes.subarray(part.first * frame, (part.first + part.plan.frames.length) * frame);
          const frames = tensor(used, [used.length], { device });
          return pixels(frames, [{ offset: 0, width, height, plan: part.plan }]);
        });
        const all = reshape(concat(clips), shape);
        return this.mixed ? mixOnDevice(all, this.mixed) : all;
      }),
    );
  }

  release(): void {
    this.samples = [];
  }
}

/** The plan of one view, crop-major, and its first frame: `clipFrames` frames under one crop. */
function viewOf(plan: VideoPlan, view: number, clipFrames: number): { plan: VideoPlan; first: number } {
  const clips = plan.frames.length / clipFrames;
  const first = (view % clips) * clipFrames;
  return {
    first,
    plan: {
      ...plan,
      crops: [plan.crops[Math.floor(view / clips)]!],
      frames: Array.from(plan.frames).slice(first, first + clipFrames),
      jitter: plan.jitter?.slice(first, first + clipFrames) ?? null,
    },
  };
}

/** {@link mixFrames} in the same arithmetic. @param x float32 [B, T, 3, H, W] */
function mixOnDevice(x: Tensor, mix: Mix): Tensor {
  const [batch = 0, ...sample] = x.shape;
  const { device } = x;
  const order = tensor(Int32Array.from(mix.permutation), [batch], { device });
  const partner = reshape(embedding(order, reshape(x, [batch, product(sample)])), x.shape);
  if (mix.kind === 'mixup') {
    return add(mul(x, Math.fround(mix.lam)), mul(partner, Math.fround(1 - mix.lam)));
  }
  const [height, width] = sample.slice(-2) as [number, number];
  const inside = new Float32Array(height * width);
  const [left, top, boxWidth, boxHeight] = mix.box;
  for (let y = top; y < top + boxHeight; y++) inside.fill(1, y * width + left, y * width + left + boxWidth);
  const mask = (values: Float32Array) => tensor(values, [height, width], { device });
  return add(mul(x, mask(inside.map((v) => 1 - v))), mul(partner, mask(inside)));
}
