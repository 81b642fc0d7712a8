import { basename, join, resolve } from 'node:path';
import type { Command } from 'commander';
import { failureText } from '../../data/batch';
import { compareDecoding } from '../../data/decode_speed';
import { cacheDataset, cachedName } from '../../data/short_gop_cache';
import { VideoDataset } from '../../data/video_dataset';
import { integerFrom, requireOther } from '../arguments';
import { interruptible } from '../interrupt';
import { listingReports, openProgressBar } from '../progress';
import { note, print } from '../terminal';

interface CacheFlags {
  root?: string;
  output: string;
  shortSide: number;
  gop: number;
  quality: number;
}

const help = `
Training reads a few frames of each video; in the copies there is a key frame near each of them. The output folder is
the new DATA.ROOT; the new list is in it, under the name of the old one. An interrupted call goes on where it stopped.`;

/** Videos that the comparison times. */
const timed = 16;

/** Adds `data cache`: smaller copies that decode faster. */
export function addCache(data: Command): void {
  data
    .command('cache')
    .description('write small copies with many key frames, and measure how much faster they decode')
    .argument('<list>', 'list of videos, or archives with labels')
    .option('--root <path>', 'where the videos are; archives with labels hold them')
    .requiredOption('--output <folder>', 'where the copies go')
    .option(
      '--short-side <pixels>',
      'shorter side of the copies; smaller videos keep their size',
      integerFrom(16, 32768),
      256,
    )
    .option('--gop <frames>', 'distance of key frames', integerFrom(1, 600), 12)
    .option('--quality <n>', 'from 1, the best, to 31', integerFrom(1, 31), 4)
    .addHelpText('after', help)
    .action(async (list: string, flags: CacheFlags) => {
      await interruptible('stopping', (signal) => cache(list, flags, signal));
    });
}

async function cache(list: string, flags: CacheFlags, signal: AbortSignal): Promise<void> {
  const { root, output, ...settings } = flags;
  const listName = /\.json$/.test(list) ? basename(list) : `${basename(list).replace(/\.[^.]*$/, '')}.txt`;
  requireOther(list, join(output, listName));
  const bar = openProgressBar();
  try {
    const onListing = listingReports(bar);
    const dataset = await VideoDataset.fromList(list, { root, signal, onListing });
    const { entries, failed, ...written } = await cacheDataset(dataset, {
      output,
      listName,
      settings,
      signal,
      onProgress: (done, total) => bar?.show('cache', { step: done - 1, steps: total }, ''),
    });
    bar?.stop();
    for (const { code, where, location, reason } of failed)
      note(`${code}: ${failureText({ where, path: location, reason })}`);
    print(`${written.list}: ${entries.length} videos, ${failed.length} could not be copied`);
    if (failed.length > 0) process.exitCode = 1;
    const copied = new Set(entries.map(({ name }) => name));
    const sound = dataset.samples.filter(({ name }) => copied.has(cachedName(name)));
    const step = Math.max(1, Math.floor(sound.length / timed));
    const chosen = sound.filter((_, i) => i % step === 0).slice(0, timed);
    if (chosen.length === 0) return;
    const { videos, before, after } = await compareDecoding(
      chosen.map(({ source, name }) => [source, { path: resolve(join(output, cachedName(name))) }] as const),
      signal,
    );
    print(
      `8 frames of ${videos} videos on one thread: ${before.toFixed(1)} clips/s before, ${after.toFixed(1)} after, ` +
        `${(after / before).toFixed(2)} times as fast`,
    );
  } finally {
    bar?.stop();
  }
}
