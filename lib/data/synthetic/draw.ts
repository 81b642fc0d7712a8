import { type Random, uniformIn } from '../random';
import { colors, type SyntheticClass } from './classes';

/** Draws the pictures of one synthetic video. Lengths are fractions of the picture's side, times of the clip. */

/** Where the shape is at one time: centre, half its side (or its radius), and whether it shows. */
interface Pose {
  x: number;
  y: number;
  half: number;
  visible: boolean;
}

/** Pose at time t in (0, 1); frames are the middles of n equal parts, so that t -> 1 - t runs a film backwards. */
type Path = (t: number) => Pose;

const turn = 2 * Math.PI;

/**
 * RGB frames [n, side, side, 3] of one video. All draws come from `random`: place, size, period, phase, background.
 * @param side pixels
 */
export function drawVideo(
  what: SyntheticClass,
  frameCount: number,
  side: number,
  random: Random,
): Uint8Array {
  const path = what.specification === 'easy' ? easyPath(what.motion, random) : hardPath(what.motion, random);
  const levels = what.specification === 'easy' ? plainGround(side, random) : texturedGround(side, random);
  const background = Uint8Array.from({ length: 3 * levels.length }, (_, k) => levels[(k - (k % 3)) / 3]!);
  const round = what.specification === 'hard';
  const frames = new Uint8Array(frameCount * background.length);
  for (let frame = 0; frame < frameCount; frame++) {
    const picture = frames.subarray(frame * background.length, (frame + 1) * background.length);
    picture.set(background);
    drawShape(picture, path((frame + 0.5) / frameCount), colors[what.color], side, round);
  }
  return frames;
}

/** Repeats with a period of 0.6 to 1.1 of the clip, from a random phase: no frame is special, but their set is. */
function easyPath(motion: string, random: Random): Path {
  const period = uniformIn(random, 0.6, 1.1);
  const phase = random.uniform();
  const half = uniformIn(random, 0.1, 0.15);
  const reach = uniformIn(random, 0.17, 0.25);
  const x = uniformIn(random, 0.42, 0.58);
  const y = uniformIn(random, 0.42, 0.58);
  const rest: Pose = { x, y, half, visible: true };
  const angle = (t: number) => turn * (t / period + phase);
  const paths: Record<string, Path> = {
    // Anywhere that the moving ones reach; phase and period serve as the two draws.
    'standing still': () => ({
      ...rest,
      x: x + (phase - 0.5) * 2 * reach,
      y: y + (period - 0.85) * 4 * reach,
    }),
    'moving sideways': (t) => ({ ...rest, x: x + reach * Math.sin(angle(t)) }),
    'moving vertically': (t) => ({ ...rest, y: y + reach * Math.sin(angle(t)) }),
    'moving around': (t) => ({
      ...rest,
      x: x + reach * Math.cos(angle(t)),
      y: y + reach * Math.sin(angle(t)),
    }),
    pulsing: (t) => ({ ...rest, half: half * (1.25 + 0.75 * Math.sin(angle(t))) }),
    blinking: (t) => ({ ...rest, visible: Math.sin(angle(t)) > 0 }),
  };
  return paths[motion]!;
}

/** Goes one way through the whole clip, and its opposite is the same film run backwards. */
function hardPath(motion: string, random: Random): Path {
  const half = uniformIn(random, 0.1, 0.15);
  const distance = uniformIn(random, 0.35, 0.5);
  const start = uniformIn(random, 0.15, 0.85 - distance);
  const across = uniformIn(random, 0.2, 0.8);
  const along = (t: number) => start + distance * t;
  const sideways: Path = (t) => ({ x: along(t), y: across, half, visible: true });
  const upright: Path = (t) => ({ x: across, y: along(t), half, visible: true });
  const [x, y] = [uniformIn(random, 0.3, 0.7), uniformIn(random, 0.3, 0.7)];
  const growing: Path = (t) => ({ x, y, half: half * (0.6 + 1.3 * t), visible: true });
  const backwards =
    (path: Path): Path =>
    (t) =>
      path(1 - t);
  const paths: Record<string, Path> = {
    'moving right': sideways,
    'moving left': backwards(sideways),
    'moving down': upright,
    'moving up': backwards(upright),
    growing,
    shrinking: backwards(growing),
  };
  return paths[motion]!;
}

/** One grey level with noise. @returns [side, side] */
function plainGround(side: number, random: Random): Float32Array {
  const level = uniformIn(random, 50, 110);
  return Float32Array.from({ length: side * side }, () => level + uniformIn(random, -12, 12));
}

/** Soft grey blobs: an 8 x 8 grid of random levels, interpolated. @returns [side, side] */
function texturedGround(side: number, random: Random): Float32Array {
  const cells = 8;
  const grid = Array.from({ length: (cells + 1) ** 2 }, () => uniformIn(random, 35, 125));
  const at = (column: number, row: number) => grid[row * (cells + 1) + column]!;
  return Float32Array.from({ length: side * side }, (_, k) => {
    const u = ((k % side) / side) * cells;
    const v = (Math.floor(k / side) / side) * cells;
    const [column, row] = [Math.floor(u), Math.floor(v)];
    const [fu, fv] = [u - column, v - row];
    const top = at(column, row) * (1 - fu) + at(column + 1, row) * fu;
    const bottom = at(column, row + 1) * (1 - fu) + at(column + 1, row + 1) * fu;
    return top * (1 - fv) + bottom * fv;
  });
}

/** Draws the shape over `picture`, RGB bytes [side, side, 3]; its edge is one pixel soft, so that slow movements show. */
function drawShape(
  picture: Uint8Array,
  pose: Pose,
  color: readonly number[],
  side: number,
  round: boolean,
): void {
  if (!pose.visible) return;
  const [centerX, centerY, half] = [pose.x * side, pose.y * side, pose.half * side];
  const [left, right] = pixelRange(centerX, half, side);
  const [top, bottom] = pixelRange(centerY, half, side);
  for (let y = top; y < bottom; y++) {
    for (let x = left; x < right; x++) {
      const [dx, dy] = [x + 0.5 - centerX, y + 0.5 - centerY];
      const distance = round ? Math.hypot(dx, dy) : Math.max(Math.abs(dx), Math.abs(dy));
      const cover = Math.min(1, Math.max(0, half - distance + 0.5));
      const pixel = 3 * (y * side + x);
      for (let c = 0; c < 3; c++) picture[pixel + c] = picture[pixel + c]! * (1 - cover) + cover * color[c]!;
    }
  }
}

/** First and last + 1 pixel that a shape and its soft edge touch along one axis. */
function pixelRange(center: number, half: number, side: number): [number, number] {
  return [Math.max(0, Math.floor(center - half - 1)), Math.min(side, Math.ceil(center + half + 1))];
}
