import { checkArray } from '../base/check';
import { CodedError } from '../base/error';
import { type DType, native } from '../native/load';
import type { FrameJitter, VideoPlan } from '../native/video';
import { unaryOutput } from '../tensor/autograd';
import { checkTensor } from '../tensor/check';
import type { Tensor } from '../tensor/tensor';

/** Decoded frames of one video, and what is to be done to them. */
export interface ClipFrames {
  /** Place of the first byte of the first frame. */
  offset: number;
  /** Size in pixels of the frames, which lie one behind the other, [T, height, width, 3], in the order of the plan. */
  width: number;
  height: number;
  /** Its `size`, `mean` and `std` must be those of the other clips of a call. */
  plan: VideoPlan;
}

/**
 * Executes the pixel part of plans on the device: resize, crop, resize to `size`, flip, jitter, grey, normalise. Byte
 * for byte what the decode addon does while it decodes, so that it need only ship bytes.
 *
 * @param frames uint8, the bytes of the frames of all clips
 * @param clips where each clip is and its plan; at least one
 * @param dtype of the result; default float32
 * @returns [N, 3, H, W] with N = crops times T, summed over the clips: clip by clip, crop-major within a clip
 * @throws ERR_ARGUMENT when a clip reaches outside `frames`, a crop outside its picture, or plans disagree; ERR_DTYPE
 *
 * @example
 * const frames = tensor(new Uint8Array(2 * 4 * 6 * 3), [144]); // two frames of 6 x 4
 * const clip: ClipFrames = {
 *   offset: 0,
 *   width: 6,
 *   height: 4,
 *   plan: {
 *     frames: [0, 1],
 *     resize: null,
 *     crops: [[1, 0, 4, 4]],
 *     size: 2,
 *     flip: true,
 *     jitter: null,
 *     gray: false,
 *     mean: [0, 0, 0],
 *     std: [255, 255, 255],
 *   },
 * };
 * const x = pixels(frames, [clip]); // shape [2, 3, 2, 2]
 */
export function pixels(frames: Tensor, clips: readonly ClipFrames[], dtype: DType = 'float32'): Tensor {
  checkTensor('pixels', 'frames', frames);
  checkArray('pixels', 'clips', clips);
  for (const [index, clip] of clips.entries()) checkClip(index, clip);
  const first = clips[0]?.plan;
  if (!first) throw new CodedError('ERR_ARGUMENT', 'pixels: there is no clip');
  const result = resultOf(first);
  for (const [index, { plan }] of clips.entries()) {
    if (String(resultOf(plan)) !== String(result)) {
      throw new CodedError(
        'ERR_ARGUMENT',
        `pixels: size, mean or std of plan ${index} differ from those of plan 0`,
      );
    }
  }
  const { size, mean, std } = first;
  const [width, height] = typeof size === 'number' ? [size, size] : size;
  const edits = clips.flatMap(editsOf);
  return unaryOutput(
    'pixels',
    [frames],
    () => native().pixels(frames.handle, edits, width, height, mean, std, dtype),
    null,
  );
}

/** What the compute addon is told as bare numbers is looked at here. */
function checkClip(index: number, clip: ClipFrames): void {
  const { offset, width, height, plan } = clip ?? {};
  const whole = [offset, width, height].every((value) => Number.isSafeInteger(value) && value >= 0);
  if (whole && Array.isArray(plan?.crops) && plan.frames) return;
  throw new CodedError(
    'ERR_ARGUMENT',
    `pixels: clip ${index} must have offset, width and height in whole numbers, and a plan with frames and crops`,
  );
}

function resultOf({ size, mean, std }: VideoPlan): unknown[] {
  return [size, mean, std];
}

/** The numbers of each picture, as native/ops/pixels.h lists them. */
function editsOf({ offset, width, height, plan }: ClipFrames): number[] {
  const [resizedWidth, resizedHeight] = plan.resize ?? [width, height];
  return plan.crops.flatMap((crop) =>
    Array.from(plan.frames, (_, slot) => [
      offset + slot * width * height * 3,
      width,
      height,
      resizedWidth,
      resizedHeight,
      ...crop,
      Number(plan.flip),
      Number(plan.gray),
      ...jitterNumbers(plan.jitter?.[slot]),
    ]).flat(),
  );
}

function jitterNumbers(jitter: FrameJitter | undefined): number[] {
  if (!jitter) return [0, 1, 1, 1, 0];
  const { order, brightness, contrast, saturation, hue } = jitter;
  const operations = order.reduce((digits, operation, place) => digits + (operation + 1) * 5 ** place, 0);
  return [operations, brightness, contrast, saturation, Math.trunc(hue * 255)];
}
