import { mixRandom, orderRandom, sampleRandom } from '../../lib/data/random';

test('no two uses share their random numbers: samples, orders and mixes of all epochs', () => {
  const first = [0, 1, 2, 3, 4, 5].flatMap((epoch) => [
    ...[0, 1, 2].flatMap((k) => [sampleRandom(7, epoch, k), mixRandom(7, epoch, k)]),
    orderRandom(7, epoch),
  ]);
  expect(new Set(first.map((random) => random.uniform())).size).toBe(first.length);
});

test('what a seed draws stays what it is, so that runs of other versions are resumed and repeated', () => {
  expect([sampleRandom, mixRandom].map((random) => random(7, 2, 3).integer(1e6))).toEqual([789958, 550730]);
  expect(orderRandom(7, 2).permutation(6)).toEqual([5, 2, 3, 0, 4, 1]);
  const beta = (a: number, b: number) => mixRandom(7, 2, 3).beta(a, b);
  expect([beta(0.8, 0.8), beta(2, 5)]).toEqual([
    expect.closeTo(0.2950033998897287, 12),
    expect.closeTo(0.08593501764173209, 12),
  ]);
});
