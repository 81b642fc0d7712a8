import { Philox } from '../../../lib/base/philox';
import { drawVideo, syntheticClasses } from '../../../lib/data/synthetic';

const side = 64;
const frameBytes = side * side * 3;
const { seen, unseen } = syntheticClasses(['easy', 'hard']);
const all = [...seen, ...unseen];
const draw = (name: string, seed = 1) =>
  drawVideo(all.find((what) => what.name === name)!, 32, side, new Philox(seed));

// Locals: a lookup of a global is slow inside jest.
const { max, min } = Math;
const spread = (...channels: [number, number, number]) => max(...channels) - min(...channels);

/** Centre and area of the saturated pixels of one frame. */
function locate(video: Uint8Array, frame: number): { x: number; y: number; area: number } {
  let [x, y, area] = [0, 0, 0];
  for (let k = 0; k < side * side; k++) {
    const start = frame * frameBytes + 3 * k;
    if (spread(video[start]!, video[start + 1]!, video[start + 2]!) < 60) continue;
    x += k % side;
    y += Math.floor(k / side);
    area++;
  }
  return { x: x / area, y: y / area, area };
}

test('48 easy and 36 hard classes with unique names; every colour and motion is seen and unseen', () => {
  expect(syntheticClasses(['easy']).seen.length).toBe(32);
  expect(syntheticClasses(['easy']).unseen.length).toBe(16);
  expect(syntheticClasses(['hard']).seen.length).toBe(30);
  expect(syntheticClasses(['hard']).unseen.length).toBe(6);
  expect(new Set(all.map(({ name }) => name)).size).toBe(84);
  for (const specification of ['easy', 'hard'] as const) {
    const groups = syntheticClasses([specification]);
    for (const key of ['color', 'motion'] as const) {
      const values = (classes: typeof seen) => new Set(classes.map((what) => what[key]));
      expect([...values(groups.unseen)].every((value) => values(groups.seen).has(value))).toBe(true);
    }
  }
});

test('pictures are a function of the generator', () => {
  expect(Buffer.compare(draw('red square pulsing', 3), draw('red square pulsing', 3))).toBe(0);
  expect(Buffer.compare(draw('red square pulsing', 3), draw('red square pulsing', 4))).not.toBe(0);
});

test.each([
  ['right', 'left'],
  ['down', 'up'],
])('moving %s and moving %s are each other run backwards', (one, other) => {
  const backwards = draw(`green circle moving ${other}`);
  const forwards = draw(`green circle moving ${one}`);
  for (let frame = 0; frame < 32; frame++) {
    const mirrored = backwards.subarray((31 - frame) * frameBytes, (32 - frame) * frameBytes);
    expect(Buffer.compare(forwards.subarray(frame * frameBytes, (frame + 1) * frameBytes), mirrored)).toBe(0);
  }
});

test('shapes do what their names say, inside the picture', () => {
  for (let seed = 0; seed < 5; seed++) {
    const at = (name: string) => {
      const video = draw(name, seed);
      return [0, 16, 31].map((frame) => locate(video, frame));
    };
    const [left0, , left1] = at('red circle moving left');
    expect(left0!.x - left1!.x).toBeGreaterThan(15);
    expect(Math.abs(left0!.y - left1!.y)).toBeLessThan(1);
    const [up0, , up1] = at('green circle moving up');
    expect(up0!.y - up1!.y).toBeGreaterThan(15);
    const [grow0, grow1, grow2] = at('yellow circle growing');
    expect(grow2!.area).toBeGreaterThan(grow1!.area);
    expect(grow1!.area).toBeGreaterThan(grow0!.area);
    const still = draw('red square standing still', seed);
    expect(Buffer.compare(still.subarray(0, frameBytes), still.subarray(31 * frameBytes))).toBe(0);
    const blinking = draw('red square blinking', seed);
    const blinks = Array.from({ length: 32 }, (_, f) => locate(blinking, f).area > 0);
    expect(new Set(blinks).size).toBe(2);
    const around = draw('yellow square moving around', seed);
    const areas = Array.from({ length: 32 }, (_, f) => locate(around, f).area);
    expect(Math.max(...areas) - Math.min(...areas)).toBeLessThan(Math.max(...areas) * 0.25); // never cut off
  }
});
