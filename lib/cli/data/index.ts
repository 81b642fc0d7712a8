import type { Command } from 'commander';
import { addCache } from './cache';
import { addFewShot } from './few_shot';
import { addPack } from './pack';
import { addPrepare } from './prepare';
import { addShow } from './show';
import { addVerify } from './verify';

const examples = `
Examples:
  $ xclip-native data prepare hmdb51 --root videos --annotations splits --output lists
  $ xclip-native data few-shot lists/train_split1.txt --k 4 --output lists/train_split1_k4.txt
  $ xclip-native data verify lists/val.txt --root videos --report bad.json
  $ xclip-native data pack lists/train.txt --root videos --output train.tar --shard-megabytes 1000
  $ xclip-native data cache lists/train.txt --root videos --output cached
  $ xclip-native data show -cfg configs/k400/32_8.yaml --index 17 --epoch 3 \\
      --opts DATA.ROOT videos DATA.TRAIN_FILE lists/train.txt

--root, like DATA.ROOT, is a folder, a .tar, a .zip without compression, or a range of archives such as
train-{000000..000146}.tar.`;

/** Adds `data`: what is done to data sets before and between trainings. */
export function addData(program: Command): void {
  const data = program
    .command('data')
    .description('prepare, check, pack, cache and look at data sets')
    .addHelpText('after', examples);
  for (const add of [addPrepare, addFewShot, addVerify, addPack, addCache, addShow]) add(data);
}
