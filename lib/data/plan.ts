import { checkKnownOptions, type KnownOptions } from '../base/check';
import type { VideoInfo, VideoPlan } from '../native/video';
import type { Random } from './random';
import { sampleRandomClips, sampleTestClips, sampleTrainFrames } from './sampler';
import { centerCrop } from './transforms/center_crop';
import { colorJitter } from './transforms/color_jitter';
import { flip } from './transforms/flip';
import type { Size } from './transforms/geometry';
import { grayScale } from './transforms/gray_scale';
import { multiScaleCrop } from './transforms/multi_scale_crop';
import { channelMean, channelStd } from './transforms/normalize';
import { resizeShortSide, shortSideFor } from './transforms/resize_short_side';
import { shiftCrop } from './transforms/shift_crop';
import { threeCrop } from './transforms/three_crop';

/**
 * Everything that is done to a video to make one sample, every draw already made. Plain JSON: print it, and
 * `runPlan(video, JSON.parse(text), out)` of the addon writes the same pixels again.
 */
export interface SamplePlan extends VideoPlan {
  frames: number[];
}

/** The facts of a video that a plan depends on. */
export type PlanInfo = Pick<VideoInfo, 'frameCount' | 'width' | 'height'>;

/** How plans are made, and the shape that each of them fills. */
export interface Planner {
  /** Shape of one sample: [T, 3, S, S] in training, [V, T, 3, S, S] with V views in a test. */
  readonly shape: readonly number[];
  plan(info: PlanInfo, random: Random): SamplePlan;
}

/** Settings of the training transforms. */
export interface TrainPlanOptions {
  /** Frames per clip, T. */
  numFrames: number;
  /** Side of the square input in pixels, S. */
  inputSize: number;
  /**
   * 0: crops of the reference (short side S * 256 / 224, ten sizes, five places). Otherwise the short side becomes
   * `S + shift` and the crop keeps its size S, at a random place.
   */
  shift: number;
  /** Probability that a clip is mirrored. */
  flip: number;
  /** Probability that a clip's colours are jittered. */
  colorJitter: number;
  /** Probability that a clip loses its colours. */
  grayScale: number;
}

const trainKeys: KnownOptions<TrainPlanOptions> = {
  numFrames: true,
  inputSize: true,
  shift: true,
  flip: true,
  colorJitter: true,
  grayScale: true,
};

/** Settings of the test views; V = `numClips * numCrops`, crop-major. */
export interface TestPlanOptions {
  /** Frames per clip, T. */
  numFrames: number;
  /** Side of the square input in pixels, S. */
  inputSize: number;
  /** Clips per video, spread evenly over it. */
  numClips: number;
  /** 1: the middle, out of a short side of S * 256 / 224. 3: left, right, middle, out of a short side of S. */
  numCrops: 1 | 3;
  /** Draw the clips of a multi-clip test at random, as the reference does. */
  randomClips?: boolean;
}

const testKeys: KnownOptions<TestPlanOptions> = {
  numFrames: true,
  inputSize: true,
  numClips: true,
  numCrops: true,
  randomClips: true,
};

/**
 * One training sample. Order of the draws: frames, crop, flip, whether to jitter, jitter of each frame, grey.
 *
 * @example
 * using video = await VideoReader.open('clip.mp4');
 * const options = { numFrames: 8, inputSize: 224, shift: 0, flip: 0.5, colorJitter: 0.8, grayScale: 0.2 };
 * const plan = trainPlan(video.info, options, new Philox(seed, index));
 * const frames = new Float32Array(8 * 3 * 224 * 224); // [T, 3, S, S]
 * await video.runPlan(plan, frames);
 */
export function trainPlan(info: PlanInfo, options: TrainPlanOptions, random: Random): SamplePlan {
  checkKnownOptions('trainPlan', options, trainKeys);
  const { numFrames, inputSize, shift } = options;
  const shortSide = shift > 0 ? inputSize + shift : shortSideFor(inputSize);
  const picture = resizeShortSide([info.width, info.height], shortSide);
  const frames = sampleTrainFrames(info.frameCount, numFrames, random);
  const crop = shift > 0 ? shiftCrop(picture, inputSize, random) : multiScaleCrop(picture, inputSize, random);
  return {
    frames,
    resize: resizeOf(info, picture),
    crops: [crop],
    size: inputSize,
    flip: flip(options.flip, random),
    jitter: colorJitter(numFrames, options.colorJitter, random),
    gray: grayScale(options.grayScale, random),
    mean: channelMean,
    std: channelStd,
  };
}

/** All views of one test sample, [V, T, 3, S, S]: crop-major, then clip, then frame. `random` only feeds `randomClips`. */
export function testPlan(info: PlanInfo, options: TestPlanOptions, random: Random): SamplePlan {
  checkKnownOptions('testPlan', options, testKeys);
  const { numFrames, inputSize, numClips, numCrops } = options;
  const shortSide = numCrops === 3 ? inputSize : shortSideFor(inputSize);
  const picture = resizeShortSide([info.width, info.height], shortSide);
  const frames =
    options.randomClips && numClips > 1
      ? sampleRandomClips(info.frameCount, numFrames, numClips, random)
      : sampleTestClips(info.frameCount, numFrames, numClips);
  return {
    frames,
    resize: resizeOf(info, picture),
    crops: numCrops === 3 ? threeCrop(picture, inputSize) : [centerCrop(picture, inputSize)],
    size: inputSize,
    flip: false,
    jitter: null,
    gray: false,
    mean: channelMean,
    std: channelStd,
  };
}

/** {@link trainPlan} with its options fixed. */
export function trainPlanner(options: TrainPlanOptions): Planner {
  checkKnownOptions('trainPlanner', options, trainKeys);
  const { numFrames, inputSize } = options;
  return {
    shape: [numFrames, 3, inputSize, inputSize],
    plan: (info, random) => trainPlan(info, options, random),
  };
}

/** {@link testPlan} with its options fixed. */
export function testPlanner(options: TestPlanOptions): Planner {
  checkKnownOptions('testPlanner', options, testKeys);
  const { numFrames, inputSize, numClips, numCrops } = options;
  return {
    shape: [numClips * numCrops, numFrames, 3, inputSize, inputSize],
    plan: (info, random) => testPlan(info, options, random),
  };
}

function resizeOf(info: PlanInfo, picture: Size): Size | null {
  return info.width === picture[0] && info.height === picture[1] ? null : picture;
}
