import { Philox } from '../../lib/base/philox';

// Known answers published with the Random123 library for philox4x32-10.
test('matches the published known answers', () => {
  const zero = new Philox(0, 0);
  expect([zero.bits(), zero.bits(), zero.bits(), zero.bits()]).toEqual([
    0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8,
  ]);
});

test('streams and seeds differ, the same pair repeats', () => {
  const draw = (seed: number, stream: number) => new Philox(seed, stream).bits();
  expect(draw(1, 2)).toBe(draw(1, 2));
  expect(new Set([draw(1, 2), draw(2, 1), draw(1, 3), draw(0, 0)]).size).toBe(4);
});

test('a uniform number takes 53 bits of two words', () => {
  const [high, low] = [0x6627e8d5 >>> 5, 0xe169c58d >>> 6];
  expect(new Philox(0, 0).uniform()).toBe((high * 2 ** 26 + low) / 2 ** 53);
});

test('seeds and streams count with all of their 53 bits', () => {
  const words = [
    [0, 0],
    [2 ** 32, 0],
    [0, 2 ** 32],
    [2 ** 52, 0],
    [0, 2 ** 52],
  ] as const;
  expect(new Set(words.map(([seed, stream]) => new Philox(seed, stream).bits())).size).toBe(5);
});

test('uniform and normal have their moments', () => {
  const random = new Philox(7);
  const count = 20000;
  const uniforms = Array.from({ length: count }, () => random.uniform());
  const normals = Array.from({ length: count }, () => random.normal());
  const mean = (x: number[]) => x.reduce((a, b) => a + b, 0) / x.length;
  expect(mean(uniforms)).toBeCloseTo(0.5, 1);
  expect(mean(normals)).toBeCloseTo(0, 1);
  expect(mean(normals.map((x) => x * x))).toBeCloseTo(1, 1);
});

test('beta has the mean a / (a + b)', () => {
  const random = new Philox(3);
  for (const [a, b] of [
    [0.8, 0.8],
    [2, 6],
  ] as const) {
    const draws = Array.from({ length: 5000 }, () => random.beta(a, b));
    expect(draws.reduce((x, y) => x + y, 0) / draws.length).toBeCloseTo(a / (a + b), 1);
    expect(Math.min(...draws)).toBeGreaterThanOrEqual(0);
    expect(Math.max(...draws)).toBeLessThanOrEqual(1);
  }
});

test('a permutation holds every index once', () => {
  expect(new Philox(5).permutation(50).sort((a, b) => a - b)).toEqual(
    Array.from({ length: 50 }, (_, i) => i),
  );
});
