import { fewShot } from '../../../lib/data/prepare/few_shot';

const entries = Array.from({ length: 90 }, (_, i) => ({ name: `${i}.mp4`, labels: [i % 3] }));

test('k of each class, in the order of the list, nested, the same for the same seed', () => {
  const sets = [2, 4, 8, 16].map((k) => fewShot(entries, k, 5));
  for (const [i, k] of [2, 4, 8, 16].entries()) {
    const set = sets[i]!;
    for (const label of [0, 1, 2]) expect(set.filter((entry) => entry.labels[0] === label)).toHaveLength(k);
    expect(set).toEqual(entries.filter((entry) => set.includes(entry)));
    if (i > 0) expect(set).toEqual(expect.arrayContaining(sets[i - 1]!));
  }
  expect(fewShot(entries, 4, 5)).toEqual(sets[1]);
  expect(fewShot(entries, 4, 6)).not.toEqual(sets[1]);
});

test('classes are drawn from independently: one class more changes nothing for the others', () => {
  const more = [...entries, ...entries.map(({ name }) => ({ name, labels: [3] }))];
  expect(fewShot(more, 4, 5).filter(({ labels }) => labels[0]! < 3)).toEqual(fewShot(entries, 4, 5));
});

test('a video that the list names again is one video', () => {
  const twice = [...entries, ...entries.map((entry) => ({ ...entry }))];
  expect(fewShot(twice, 16, 5)).toEqual(fewShot(entries, 16, 5));
  expect(() => fewShot(twice, 31, 5)).toThrow(expect.objectContaining({ code: 'ERR_LIST_FORMAT' }));
});

test('too few videos of a class', () => {
  expect(() => fewShot(entries, 31, 0)).toThrow(
    expect.objectContaining({ code: 'ERR_LIST_FORMAT', message: 'class 0 has 30 videos, fewer than k = 31' }),
  );
});

test.each([0, 1.5, Number.NaN])('k = %p is refused', (k) => {
  expect(() => fewShot([{ labels: [0] }], k, 0)).toThrow(expect.objectContaining({ code: 'ERR_ARGUMENT' }));
});
