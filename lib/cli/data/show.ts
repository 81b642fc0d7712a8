import type { Command } from 'commander';
import { loadConfig } from '../../config/load';
import { showSample } from '../../engine/show_sample';
import { integerFrom } from '../arguments';
import { interruptible } from '../interrupt';
import { listingReports, openProgressBar } from '../progress';
import { print } from '../terminal';

interface ShowFlags {
  cfg: string;
  index: number;
  epoch: number;
  test?: boolean;
  output: string;
  opts?: string[];
}

/** Adds `data show`: what the model is shown of a sample. */
export function addShow(data: Command): void {
  data
    .command('show')
    .description(
      'write the exact views of a sample as pictures, with a contact sheet and the plan that made them',
    )
    .requiredOption('--cfg <file>', 'configuration file, also -cfg')
    .requiredOption('--index <n>', 'sample of the list, from 0', integerFrom(0))
    .option('--epoch <n>', 'epoch whose random draws are shown', integerFrom(0), 0)
    .option('--test', 'the test views of DATA.VAL_FILE instead of the training view of DATA.TRAIN_FILE')
    .option('--output <folder>', 'where the pictures go', 'views')
    .option('--opts <KEY VALUE...>', 'configuration values, as for train')
    .action(async (flags: ShowFlags) => {
      await interruptible('stopping', (signal) => show(flags, signal));
    });
}

async function show(
  { cfg, opts, index, epoch, test, output }: ShowFlags,
  signal: AbortSignal,
): Promise<void> {
  const kind = test ? 'test' : 'train';
  const bar = openProgressBar();
  try {
    const onListing = listingReports(bar);
    const config = loadConfig({ cfg, opts });
    const shown = await showSample(config, { index, epoch, kind, output, signal, onListing });
    bar?.stop();
    const { location, label, views, frames, sheet } = shown;
    print(`${location}, label ${label}: ${views} x ${frames} frames as the model sees them, ${sheet}`);
  } finally {
    bar?.stop();
  }
}
