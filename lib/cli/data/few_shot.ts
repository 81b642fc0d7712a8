import type { Command } from 'commander';
import { formatList, readList } from '../../data/list_file';
import { fewShot } from '../../data/prepare/few_shot';
import { writeText } from '../../io/text_file';
import { integerFrom, requireOther } from '../arguments';
import { print } from '../terminal';

interface FewShotFlags {
  k: number;
  seed: number;
  output: string;
}

/** Adds `data few-shot`: K videos of each class. */
export function addFewShot(data: Command): void {
  data
    .command('few-shot')
    .description(
      'choose K videos of each class from a list; those of a smaller K are among those of a larger',
    )
    .argument('<list>', 'list of training videos')
    .requiredOption('--k <n>', 'videos per class: 2, 4, 8 and 16 in the paper', integerFrom(1))
    .option('--seed <n>', 'seed of the draw', integerFrom(0), 0)
    .requiredOption('--output <file>', 'list to write')
    .action(async (list: string, { k, seed, output }: FewShotFlags) => {
      requireOther(list, output);
      const chosen = fewShot(await readList(list), k, seed);
      await writeText(output, formatList(chosen, output));
      print(`${output}: ${chosen.length} videos, ${k} of each of ${chosen.length / k} classes`);
    });
}
