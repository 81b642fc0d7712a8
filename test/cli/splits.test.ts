import { flagsOfSplit, summarize, testSplits } from '../../lib/cli/splits';
import type { RunResult } from '../../lib/engine/run';

test('every argument may name the split, and each split has a folder', () => {
  const flags = {
    cfg: 'a_{split}.yaml',
    output: 'out',
    opts: ['X', 'v{split}_{split}.txt'],
    threads: 2,
    onlyTest: true,
  };
  expect(flagsOfSplit(flags, 3)).toEqual({
    ...{ cfg: 'a_3.yaml', output: 'out/split3', opts: ['X', 'v3_3.txt'], threads: 2, onlyTest: true },
  });
  expect(flagsOfSplit({ cfg: 'a', opts: [] }, 1)).toEqual({ cfg: 'a', opts: [] });
});

test('mean and deviation', () => {
  const summary = summarize([
    { top1: 40, top5: 70 },
    { top1: 44, top5: 70 },
    { top1: 48, top5: 70 },
  ]);
  expect(summary).toMatchObject({
    splits: 3,
    top1: [40, 44, 48],
    top1Mean: 44,
    top5Mean: 70,
    top5Deviation: 0,
  });
  expect(summary.top1Deviation).toBeCloseTo(Math.sqrt(32 / 3), 12);
});

test('splits without a place for their number are refused before any work', async () => {
  const never = jest.fn();
  await expect(testSplits({ cfg: 'a.yaml' }, 3, never)).rejects.toMatchObject({ code: 'ERR_USAGE' });
  expect(never).not.toHaveBeenCalled();
});

test('an interrupted split ends the test without a mean', async () => {
  const print = jest.spyOn(process.stdout, 'write').mockImplementation(() => true);
  const evaluation = { top1: 40, top5: 70 } as RunResult['evaluation'];
  const result: RunResult = { evaluation, maxAccuracy: null, classNames: [] };
  const test = jest.fn().mockResolvedValueOnce(result).mockResolvedValueOnce(undefined);
  expect(await testSplits({ cfg: 'a_{split}.yaml' }, 3, test)).toBeUndefined();
  expect(test).toHaveBeenCalledTimes(2);
  expect(print.mock.calls.flat()).toEqual(['Split 1 of 3\n', 'Split 2 of 3\n']);
  print.mockRestore();
});
