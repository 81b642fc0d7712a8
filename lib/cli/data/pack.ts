import type { Command } from 'commander';
import { packDataset } from '../../data/pack';
import { VideoDataset } from '../../data/video_dataset';
import { integerFrom, requireOther } from '../arguments';
import { interruptible } from '../interrupt';
import { listingReports, openProgressBar } from '../progress';
import { print } from '../terminal';

interface PackFlags {
  root?: string;
  output: string;
  shardMegabytes?: number;
}

const help = `
An archive works as DATA.ROOT with the same list, and, as each video has its label beside it, also in place of the list.
With --shard-megabytes, out.tar becomes out-000000.tar, out-000001.tar, …: name them as out-{000000..000007}.tar.`;

/** Adds `data pack`: videos into tar archives. */
export function addPack(data: Command): void {
  data
    .command('pack')
    .description('copy the videos of a list into one tar archive or into shards')
    .argument('<list>', 'list of videos, or archives with labels')
    .option('--root <path>', 'where the videos are; archives with labels hold them')
    .requiredOption('--output <file>', 'archive to write, a .tar')
    .option('--shard-megabytes <n>', 'begin a new archive when one is this large', integerFrom(1))
    .addHelpText('after', help)
    .action(async (list: string, flags: PackFlags) => {
      await interruptible('stopping', (signal) => pack(list, flags, signal));
    });
}

async function pack(
  list: string,
  { root, output, shardMegabytes }: PackFlags,
  signal: AbortSignal,
): Promise<void> {
  requireOther(list, output);
  const bar = openProgressBar();
  try {
    const onListing = listingReports(bar);
    const dataset = await VideoDataset.fromList(list, { root, signal, onListing });
    const archives = await packDataset(dataset, {
      output,
      shardBytes: shardMegabytes === undefined ? undefined : shardMegabytes * 1e6,
      signal,
      onProgress: (done, total) => bar?.show('pack', { step: done - 1, steps: total }, ''),
    });
    bar?.stop();
    for (const { path, videos, bytes } of archives)
      print(`${path}: ${videos} videos, ${(bytes / 1e6).toFixed(1)} MB`);
  } finally {
    bar?.stop();
  }
}
