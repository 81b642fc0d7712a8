import { BadShare } from '../../lib/data/bad_share';
import type { SampleFailure } from '../../lib/data/batch';

const failure = (index: number): SampleFailure => ({
  epoch: 0,
  index,
  path: `/videos/${index}.mp4`,
  where: `list.txt:${index + 1}`,
  code: 'ERR_FILE_NOT_FOUND',
  reason: `/videos/${index}.mp4: No such file or directory`,
});

/** Samples that were told before the share ended it, true for bad ones; undefined when it did not. */
function endOf(samples: boolean[], most: number): number | undefined {
  const share = new BadShare(most, samples.length, '/videos');
  for (const [i, bad] of samples.entries()) {
    try {
      share.add(bad ? 0 : 1, bad ? [failure(i)] : []);
    } catch (error) {
      expect(error).toMatchObject({ code: 'ERR_BAD_VIDEOS' });
      return i + 1;
    }
  }
  return undefined;
}

const repeat = (count: number, pattern: boolean[]) =>
  Array.from({ length: count }, (_, i) => pattern[i % pattern.length]!);

test('a long epoch in which all fail ends after half of 256, a short one after half of it', () => {
  expect(endOf(repeat(100_000, [true]), 0.5)).toBe(129);
  expect(endOf(repeat(10, [true]), 0.5)).toBe(6);
  expect(endOf([true], 0.5)).toBe(1);
});

test('a class that is missing at the start of a sorted list ends nothing, nor do ten percent', () => {
  expect(endOf([...repeat(120, [true]), ...repeat(10_000, [false])], 0.5)).toBeUndefined();
  expect(endOf(repeat(10_000, [true, ...repeat(9, [false])]), 0.5)).toBeUndefined();
  expect(endOf(repeat(10_000, [false, true]), 0.5)).toBeUndefined();
});

test('a disk that goes away in the middle ends the epoch when more than the share has failed', () => {
  expect(endOf([...repeat(1000, [false]), ...repeat(9000, [true])], 0.5)).toBe(2001);
  expect(endOf([...repeat(1000, [false]), ...repeat(9000, [true])], 0.1)).toBe(1112);
});

test.each([0, 0.9, 0.999])('a share of %d lets no epoch pass in which all fail', (most) => {
  for (const total of [1, 2, 255, 5000])
    expect(endOf(repeat(total, [true]), most)).toBeLessThanOrEqual(total);
});

test('the message names the first failures, where the videos are looked for, and the key', () => {
  const share = new BadShare(0.5, 8, '/videos');
  expect(() => share.add(1, [0, 1, 2, 3, 4].map(failure))).toThrow(
    '5 of 6 videos could not be loaded, more than the share of 0.5 that DATA.MAX_BAD_SHARE allows; are they in /videos? ' +
      'The first:\n  list.txt:1: /videos/0.mp4: No such file or directory\n' +
      '  list.txt:2: /videos/1.mp4: No such file or directory\n  list.txt:3: /videos/2.mp4: No such file or directory',
  );
});
