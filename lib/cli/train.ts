import { join } from 'node:path';
import type { Command } from 'commander';
import { type ConfigFlags, loadConfig } from '../config/load';
import { jobFromEnvironment } from '../distributed/environment';
import { launcherSignal } from '../distributed/launcher';
import { ProcessGroup } from '../distributed/process_group';
import { REPORT_FILE, type RunResult, run } from '../engine/run';
import { integerFrom } from './arguments';
import { interruptible } from './interrupt';
import { badVideoListener, progressListener } from './progress';
import { testSplits } from './splits';
import { leaveToOthers, note, print } from './terminal';

/** Options of `train` and `test`, as the parser gives them. */
interface RunFlags extends ConfigFlags {
  cfg: string;
  opts?: string[];
  threads?: number;
}

/** Where a training run writes that is told no folder, as in the reference. */
const DEFAULT_OUTPUT = 'exp';

const trainExamples = `
Examples:
  $ xclip-native train -cfg configs/k400/32_8.yaml --output out --pretrained ViT-B-32.pt --accumulation-steps 4 \\
      --opts DATA.ROOT videos DATA.TRAIN_FILE train.txt DATA.VAL_FILE val.txt
  $ xclip-native train -cfg out/config.yaml --output out --opts TRAIN.AUTO_RESUME True

Lists have one "file label" per line, labels being the ids of the class table DATA.LABEL_LIST. The config.yaml that a
run leaves in its output folder shows every key with its value. Ctrl-C saves a checkpoint that a resumed run continues
from exactly.`;

const testExamples = `
Examples:
  $ xclip-native test -cfg configs/k400/32_8.yaml --resume k400_32_8.pth \\
      --opts DATA.ROOT videos DATA.VAL_FILE val.txt TEST.NUM_CLIP 4 TEST.NUM_CROP 3
  $ xclip-native test -cfg configs/hmdb51/16_32.yaml --resume k400_16_32.pth --output out --splits 3 \\
      --opts DATA.ROOT videos DATA.VAL_FILE lists/val_split{split}.txt`;

/** Adds `train`: the official recipe, with the official flags. */
export function addTrain(program: Command): void {
  const command = program
    .command('train')
    .description('train a model as a configuration file says, testing it after each epoch')
    .option('--only-test', 'test the model of --resume and stop')
    .option('--accumulation-steps <n>', 'micro-batches per update', integerFrom(1))
    .option('--pretrained <file>', 'image-text weights to start from, such as ViT-B-32.pt');
  addRunOptions(command, `where checkpoints, logs and the report go (default: ${DEFAULT_OUTPUT})`)
    .addHelpText('after', trainExamples)
    .action(async (flags: RunFlags) => {
      await execute(flags);
    });
}

/** Adds `test`: the same as `train --only_test`. */
export function addTest(program: Command): void {
  const command = program
    .command('test')
    .description('measure the accuracy of a checkpoint on the validation list')
    .option(
      '--splits <n>',
      'test n times, with 1 to n in the place of {split} in the arguments, and give the mean',
      integerFrom(1),
    );
  addRunOptions(command, 'where the log, the results and the report go (default: nothing is written)')
    .addHelpText('after', testExamples)
    .action(async ({ splits, ...flags }: RunFlags & { splits?: number }) => {
      const test = (own: RunFlags) => execute({ ...own, onlyTest: true });
      await (splits === undefined ? test(flags) : testSplits(flags, splits, test));
    });
}

function addRunOptions(command: Command, output: string): Command {
  return command
    .requiredOption(
      '--cfg <file>',
      'configuration file, also -cfg; shipped ones are found as configs/k400/32_8.yaml',
    )
    .option('--output <folder>', output)
    .option('--resume <file>', 'checkpoint to continue, or to test')
    .option('--batch-size <n>', 'videos per step', integerFrom(1))
    .option('--device <name>', 'auto, cpu, cuda or cuda:N')
    .option('--threads <n>', 'threads that compute (default: all cores)', integerFrom(1, 1024))
    .option('--reference-sampling', 'draw the clips of a multi-view test at random, as the reference does')
    .option('--seed <n>', 'source of all randomness', integerFrom(0))
    .option('--opts <KEY VALUE...>', 'configuration values, as in "TRAIN.EPOCHS 10 TRAIN.LR 1e-4"');
}

/** @returns undefined when the run was interrupted */
async function execute({ cfg, opts, threads, ...flags }: RunFlags): Promise<RunResult | undefined> {
  let config = loadConfig({ cfg, opts, flags });
  if (config.OUTPUT === '' && !config.TEST.ONLY_TEST) {
    config = loadConfig({ cfg, opts, flags: { ...flags, output: DEFAULT_OUTPUT } });
  }
  const job = jobFromEnvironment();
  // In a job one process speaks for all, except for what is wrong, and the first of each machine for what that one lacks.
  const speaks = job === null || job.rank === 0;
  const first = job === null || job.localRank === 0;
  if (!first) leaveToOthers('DEVICE_FALLBACK');
  const hint = config.TEST.ONLY_TEST ? 'stopping' : 'stopping; a checkpoint is being saved';
  const work = async (signal: AbortSignal) => {
    const group = await ProcessGroup.join(job, { signal });
    const progress = speaks ? progressListener() : badVideoListener();
    try {
      const result = await run(config, { threads, signal, group, listener: progress });
      await group?.leave();
      return result;
    } catch (error) {
      const cause = (await group?.causeOf(error)) ?? error;
      await group?.leave((cause as Error).message);
      throw cause;
    } finally {
      progress.stop();
    }
  };
  const launcher = launcherSignal();
  const mourn = () => note('\nlaunch has ended before its processes, killed perhaps; they end too');
  // The output of all others went to the launcher.
  if (first) launcher?.addEventListener('abort', mourn);
  try {
    const result = await interruptible(speaks ? hint : null, work, launcher);
    if (result && speaks && config.OUTPUT !== '') print(`Report: ${join(config.OUTPUT, REPORT_FILE)}`);
    return result;
  } finally {
    launcher?.removeEventListener('abort', mourn);
  }
}
