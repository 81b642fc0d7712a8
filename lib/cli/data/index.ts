import type { Command } from 'commander';
import { addFewShot } from './few_shot';
import { addPrepare } from './prepare';

const examples = `
Examples:
  $ xclip-native data prepare hmdb51 --root videos --annotations splits --output lists
  $ xclip-native data few-shot lists/train_split1.txt --k 4 --output lists/train_split1_k4.txt

Wherever videos are expected there may be a folder, a .tar, a .zip without compression, or a range of archives such as
train-{000000..000146}.tar.`;

/** Adds `data`: what is done to data sets before and between trainings. */
export function addData(program: Command): void {
  const data = program
    .command('data')
    .description('prepare, check, pack, cache and look at data sets')
    .addHelpText('after', examples);
  for (const add of [addPrepare, addFewShot]) add(data);
}
