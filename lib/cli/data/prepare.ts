import type { Command } from 'commander';
import { type DatasetName, datasets, prepareDataset } from '../../data/prepare/prepare';
import { integerFrom } from '../arguments';
import { interruptible } from '../interrupt';
import { listingReports, openProgressBar } from '../progress';
import { print } from '../terminal';

interface PrepareFlags {
  root: string;
  annotations: string;
  output: string;
  labels?: string;
  zeroShotClasses?: number;
  seed?: number;
  splitFiles?: string[];
  zeroShotVideos?: 'val' | 'test';
}

const help = `
Annotations are the official files: for Kinetics train.csv and val.csv (columns label, youtube_id, time_start,
time_end, split), for UCF101 trainlist01.txt to testlist03.txt, for HMDB51 *_test_split1.txt to *_test_split3.txt.
Videos may lie in any folders under the root. Annotated videos that are not there are named in missing.txt.`;

/** Adds `data prepare`: lists out of official annotations. */
export function addPrepare(data: Command): void {
  data
    .command('prepare')
    .description('write train and test lists from the official annotations of a data set')
    .addArgument(data.createArgument('<dataset>', 'which one').choices(Object.keys(datasets)))
    .requiredOption('--root <path>', 'where the videos are')
    .requiredOption('--annotations <folder>', 'where the annotation files are')
    .requiredOption('--output <folder>', 'where the lists go')
    .option('--labels <file>', 'class table to use instead of the shipped one')
    .option(
      '--zero-shot-classes <n>',
      'Kinetics-600: classes per zero-shot split (default: 160)',
      integerFrom(1),
    )
    .option('--seed <n>', 'Kinetics-600: seed of the draw of zero-shot splits (default: 0)', integerFrom(0))
    .option('--split-files <files...>', 'Kinetics-600: class tables of given zero-shot splits, one each')
    .addOption(
      data
        .createOption('--zero-shot-videos <split>', 'Kinetics-600: official split of the zero-shot videos')
        .choices(['val', 'test']),
    )
    .addHelpText('after', help)
    .action(async (dataset: DatasetName, flags: PrepareFlags) => {
      await interruptible('stopping', (signal) => prepare(dataset, flags, signal));
    });
}

async function prepare(dataset: DatasetName, flags: PrepareFlags, signal: AbortSignal): Promise<void> {
  const bar = openProgressBar();
  try {
    const lists = await prepareDataset({ dataset, ...flags, signal, onListing: listingReports(bar) });
    bar?.stop();
    for (const { path, videos, classes, missing } of lists) {
      const absent = missing === 0 ? '' : `, ${missing} more are missing`;
      print(`${path}: ${videos} videos of ${classes} classes${absent}`);
    }
  } finally {
    bar?.stop();
  }
}
