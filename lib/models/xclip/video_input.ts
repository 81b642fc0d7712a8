import { throwIfAborted } from '../../base/abort';
import { checkKnownOptions, checkSize, type KnownOptions, wrongKind } from '../../base/check';
import { CodedError } from '../../base/error';
import { warnOfDamage } from '../../data/damage_warning';
import { type Planner, type SamplePlan, testPlanner } from '../../data/plan';
import { sampleRandom } from '../../data/random';
import type { VideoReader } from '../../data/video_reader';
import { videoAddon } from '../../native/video';
import { checkFootage, type Footage, frameCountOf, isRawFrames, nameOf, readerOf } from './footage';
import type { Geometry } from './geometry';

/** Which views of a video a model looks at. */
export interface ViewOptions {
  /** Clips per video, spread evenly over it (default 1). */
  clips?: number;
  /** Crops per clip: 1 is the middle, 3 are left, right and middle (default 1). */
  crops?: 1 | 3;
  /** Look only at the frames that are shown from the first of these times on and before the second (default: at all). */
  seconds?: readonly [from: number, to: number];
  /** Milliseconds that opening a video may take, and again decoding it (default 60000). */
  deadlineMs?: number;
  signal?: AbortSignal;
}

export const viewKeys: KnownOptions<ViewOptions> = {
  clips: true,
  crops: true,
  seconds: true,
  deadlineMs: true,
  signal: true,
};

/** Normalised pixels of the views of a video. */
export interface Views {
  /** [V, T, 3, S, S] */
  pixels: Float32Array;
  shape: readonly number[];
}

/**
 * @param what the function that was given them
 * @param known all options of that function
 * @throws ERR_ARGUMENT for what is no footage, options that there are none of, or views that cannot be
 */
export function checkViews<T extends ViewOptions>(
  what: string,
  footage: unknown,
  options: T,
  known: KnownOptions<T>,
): void {
  checkFootage(what, footage);
  checkViewOptions(what, options, known);
}

/** @throws ERR_ARGUMENT for options that there are none of, or views that cannot be */
export function checkViewOptions<T extends ViewOptions>(
  what: string,
  options: T,
  known: KnownOptions<T>,
): void {
  checkKnownOptions(what, options, known);
  const { clips = 1, crops = 1, seconds, deadlineMs = 1 } = options;
  checkSize(what, 'clips', clips);
  if (crops !== 1 && crops !== 3) throw wrongKind(what, 'crops', '1 or 3', crops);
  checkSize(what, 'deadlineMs', deadlineMs);
  if (seconds === undefined) return;
  const [from, to] = Array.isArray(seconds) ? seconds : [];
  if (!(typeof from === 'number' && typeof to === 'number' && from < to))
    throw wrongKind(
      what,
      'seconds',
      '[from, to] with from < to',
      from === undefined ? seconds : `[${from}, ${to}]`,
    );
}

/**
 * Decodes the frames that a test of the model would see, and warns (VIDEO_DAMAGED) when damage was met on the way.
 *
 * @throws ERR_ARGUMENT, ERR_SHAPE; ERR_FRAME_RANGE when no frame is shown in `seconds`; what {@link VideoReader} throws
 */
export async function readViews(footage: Footage, geometry: Geometry, options: ViewOptions): Promise<Views> {
  throwIfAborted(options.signal);
  const planner = plannerOf(geometry, options);
  const pixels = allocate(planner.shape, options.clips);
  if (isRawFrames(footage)) {
    if (options.seconds)
      throw new CodedError('ERR_ARGUMENT', 'pictures in memory have no times: give a part of them');
    const { frames, width, height } = footage;
    const plan = planOf(planner, { width, height }, [0, frameCountOf(footage)]);
    await videoAddon().runPlanOnFrames(frames, width, height, plan, pixels);
  } else {
    const { reader, release } = await readerOf(footage, options);
    try {
      await readPart(reader, nameOf(footage), planner, pixels, options);
    } finally {
      release();
    }
  }
  return { pixels, shape: planner.shape };
}

/** The views of pictures, RGB bytes [height, width, 3] each. */
export async function viewsOfPictures(
  pictures: readonly Uint8Array[],
  { width, height }: { width: number; height: number },
  geometry: Geometry,
  options: ViewOptions,
): Promise<Views> {
  const planner = plannerOf(geometry, options);
  const pixels = allocate(planner.shape, options.clips);
  const plan = planOf(planner, { width, height }, [0, pictures.length]);
  // Those that are looked at, side by side.
  const numbers = [...new Set(plan.frames)];
  const frames = new Uint8Array(numbers.length * width * height * 3);
  for (const [place, number] of numbers.entries()) frames.set(pictures[number]!, place * width * height * 3);
  const places = plan.frames.map((number) => numbers.indexOf(number));
  await videoAddon().runPlanOnFrames(frames, width, height, { ...plan, frames: places }, pixels);
  return { pixels, shape: planner.shape };
}

function plannerOf(geometry: Geometry, { clips = 1, crops = 1 }: ViewOptions): Planner {
  return testPlanner({
    numFrames: geometry.frames,
    inputSize: geometry.imageSize,
    numClips: clips,
    numCrops: crops,
  });
}

async function readPart(
  reader: VideoReader,
  name: string,
  planner: Planner,
  pixels: Float32Array,
  { seconds, deadlineMs, signal }: ViewOptions,
): Promise<void> {
  const part = seconds ? framesShown(reader, seconds) : ([0, reader.length] as const);
  const known = reader.damage.passed.length;
  await reader.runPlan(planOf(planner, reader.info, part), pixels, 0, { deadlineMs, signal });
  const { passed } = reader.damage;
  if (passed.length > known) warnOfDamage(name, passed, reader.length);
}

/** The plan of the frames from `first` up to `end`. */
function planOf(
  planner: Planner,
  { width, height }: { width: number; height: number },
  [first, end]: readonly [number, number],
): SamplePlan {
  const plan = planner.plan({ frameCount: end - first, width, height }, sampleRandom(0, 0, 0));
  return { ...plan, frames: plan.frames.map((frame) => first + frame) };
}

/** Numbers of the frames shown in a part of a video, the first and the one behind the last. */
function framesShown(reader: VideoReader, [from, to]: readonly [number, number]): [number, number] {
  const { timestamps, length, fps } = reader;
  const last = reader.indexAt(to);
  const end = timestamps[last]! < to ? last + 1 : last; // a frame that comes just at `to` is out
  const over = timestamps[length - 1]! + 1 / fps;
  if (end > 0 && from < over) return [reader.indexAt(from), end];
  throw new CodedError(
    'ERR_FRAME_RANGE',
    `no frame is shown between ${from} and ${to} seconds; the video lasts until ${over.toFixed(2)}`,
  );
}

function allocate(shape: readonly number[], clips = 1): Float32Array {
  const length = shape.reduce((a, b) => a * b, 1);
  try {
    return new Float32Array(length);
  } catch (cause) {
    const size = (4 * length) / 2 ** 30;
    const problem = `${clips} clips of a video are ${size.toPrecision(3)} GiB of pixels, which cannot be had; take fewer`;
    throw new CodedError('ERR_OUT_OF_MEMORY', problem, { cause });
  }
}
