import { join } from 'node:path';
import { CodedError } from '../base/error';
import type { ConfigFlags } from '../config/load';
import type { RunResult } from '../engine/run';
import { makeFolder, writeText } from '../io/text_file';
import { print } from './terminal';

/** What stands for the number of the split in arguments. */
const placeholder = '{split}';

/** The arguments of a run that may name a split. */
export interface SplitFlags extends ConfigFlags {
  cfg: string;
  opts?: string[];
}

/** Mean and standard deviation (of the population) over the splits, in percent. */
export interface SplitSummary {
  splits: number;
  top1: number[];
  top1Mean: number;
  top1Deviation: number;
  top5: number[];
  top5Mean: number;
  top5Deviation: number;
}

/** The arguments for one split: `{split}` is its number, from 1, and each has its own output folder. */
export function flagsOfSplit<T extends SplitFlags>(flags: T, split: number): T {
  const fill = (text: string) => text.replaceAll(placeholder, String(split));
  const filled = Object.entries(flags).map(([key, value]) => [
    key,
    typeof value === 'string' ? fill(value) : Array.isArray(value) ? value.map(fill) : value,
  ]);
  const result = Object.fromEntries(filled) as T;
  if (flags.output) result.output = join(flags.output, `split${split}`);
  return result;
}

/**
 * Tests splits 1..`count` one after another and prints mean and deviation; with an output folder also into
 * `splits.json`.
 * @param test one split; undefined when it was interrupted
 * @throws ERR_USAGE when no argument has `{split}`
 */
export async function testSplits<T extends SplitFlags>(
  flags: T,
  count: number,
  test: (flags: T) => Promise<RunResult | undefined>,
): Promise<SplitSummary | undefined> {
  if (!JSON.stringify(flags).includes(placeholder)) {
    throw new CodedError(
      'ERR_USAGE',
      `--splits needs an argument with ${placeholder} in it, such as DATA.VAL_FILE val_split${placeholder}.txt`,
    );
  }
  const results: RunResult[] = [];
  for (let split = 1; split <= count; split++) {
    print(`Split ${split} of ${count}`);
    const result = await test(flagsOfSplit(flags, split));
    if (!result) return undefined;
    results.push(result);
  }
  const summary = summarize(results.map(({ evaluation }) => evaluation));
  const percent = (mean: number, deviation: number) =>
    `${mean.toFixed(3)} (deviation ${deviation.toFixed(3)})`;
  print(
    ` * ${count} splits: Acc@1 ${percent(summary.top1Mean, summary.top1Deviation)} ` +
      `Acc@5 ${percent(summary.top5Mean, summary.top5Deviation)}`,
  );
  if (flags.output) {
    await makeFolder(flags.output);
    await writeText(join(flags.output, 'splits.json'), `${JSON.stringify(summary, null, 2)}\n`);
  }
  return summary;
}

/** @param accuracies of the splits, in percent */
export function summarize(accuracies: readonly { top1: number; top5: number }[]): SplitSummary {
  const top1 = accuracies.map((accuracy) => accuracy.top1);
  const top5 = accuracies.map((accuracy) => accuracy.top5);
  const mean = (values: number[]) => values.reduce((sum, value) => sum + value, 0) / values.length;
  const deviation = (values: number[]) => Math.sqrt(mean(values.map((value) => (value - mean(values)) ** 2)));
  return {
    splits: accuracies.length,
    top1,
    top1Mean: mean(top1),
    top1Deviation: deviation(top1),
    top5,
    top5Mean: mean(top5),
    top5Deviation: deviation(top5),
  };
}
