import { existsSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Command } from 'commander';
import { type ConfigFlags, loadConfig } from '../config/load';
import { type SyntheticDataset, writeSyntheticDataset } from '../data/synthetic';
import { VideoDataset } from '../data/video_dataset';
import { readMetrics, writeReport } from '../engine/report';
import { REPORT_FILE, type RunResult, run } from '../engine/run';
import { METRICS_FILE } from '../engine/run_log';
import { writeText } from '../io/text_file';
import { interruptible } from './interrupt';
import { progressListener } from './progress';
import { note, print } from './terminal';

const configFile = 'configs/demo/moving_shapes.yaml';
const dataSettings = { specification: 'both', trainPerClass: 40, valPerClass: 5, seed: 1 } as const;

interface DemoFlags {
  output: string;
  device?: string;
  opts?: string[];
}

/** Adds `demo`: the main job from end to end, on videos that it makes itself. */
export function addDemo(program: Command): void {
  program
    .command('demo')
    .description('write a small video data set, train on it from nothing, test it, and show what was learnt')
    .option('--output <folder>', 'where videos, checkpoints and the report go', 'out/demo')
    .option('--device <name>', 'auto, cpu, cuda or cuda:N')
    .option('--opts <KEY VALUE...>', 'configuration values, as for train')
    .action(async (flags: DemoFlags) => {
      await interruptible('stopping', (signal) => demo(flags, signal));
    });
}

/** One line of the final table. */
interface Row {
  what: string;
  accuracy: number;
  videos: number;
  names: number;
}

async function demo({ output, device, opts = [] }: DemoFlags, signal: AbortSignal): Promise<void> {
  const started = performance.now();
  loadConfig({ cfg: configFile, opts, flags: { device } }); // refuses what is wrong before videos are written
  const data = await dataset(join(output, 'data'), signal);
  print(
    `${data.videoCount} ${data.codec} videos in ${data.videoFolder}: ${data.seen.length} classes to learn,`,
  );
  print(
    `such as "${data.seen[0]}" and "${data.seen.at(-1)}", and ${data.unseen.length} that training never sees.`,
  );
  const shared = [
    ...['DATA.ROOT', data.videoFolder, 'DATA.NUM_CLASSES', String(data.seen.length)],
    ...['DATA.TRAIN_FILE', data.trainList, 'DATA.VAL_FILE', data.valList, 'DATA.LABEL_LIST', data.seenLabels],
    ...opts,
  ];
  const execute = async (overrides: string[], flags: ConfigFlags): Promise<RunResult> => {
    const listener = progressListener();
    try {
      const config = loadConfig({
        cfg: configFile,
        opts: [...shared, ...overrides],
        flags: { device, ...flags },
      });
      return await run(config, { signal, listener });
    } finally {
      listener.stop();
    }
  };

  print('\nTraining from random weights');
  const trained = await execute([], { output });
  const { TRAIN } = loadConfig({ cfg: configFile, opts: shared });
  const resume = join(output, `ckpt_epoch_${TRAIN.EPOCHS - 1}.pth`);
  const test = async (what: string, folder: string, overrides: string[] = []): Promise<Row> => {
    print(`\nTesting: ${what}`);
    return row(what, await execute(overrides, { resume, onlyTest: true, output: join(output, folder) }));
  };
  const unseen = [
    ...['DATA.VAL_FILE', data.unseenList, 'DATA.LABEL_LIST', data.unseenLabels],
    ...['DATA.NUM_CLASSES', String(data.unseen.length)],
  ];
  const rows = [
    await test('one view', 'one_view'),
    row('4 clips x 3 crops', trained),
    await test('zero-shot: combinations never seen', 'zero_shot', unseen),
    await test('ablation: one frame shown 8 times', 'one_frame', ['TEST.FRAME_ORDER', 'one_frame']),
    await test('ablation: frames reversed', 'reversed', ['TEST.FRAME_ORDER', 'reversed']),
  ];
  const report = join(output, REPORT_FILE);
  await writeReport(
    report,
    {
      title: 'X-CLIP learns moving shapes from nothing',
      facts: rows.map(({ what, accuracy, videos, names }) => [
        what,
        `${accuracy.toFixed(1)} % of ${videos} videos, among ${names} names (chance ${(100 / names).toFixed(1)} %)`,
      ]),
      events: await readMetrics(join(output, METRICS_FILE)),
      classNames: trained.classNames,
      evaluation: trained.evaluation,
      dataset: await VideoDataset.fromList(data.valList, { root: data.videoFolder }),
    },
    signal,
  );
  printTable(rows);
  print(`\n${minutes(performance.now() - started)} in all. Report: ${report}`);
  print(
    `Try it: npx xclip-native classify ${exampleClip(data)} --checkpoint ${resume} --labels ${data.seenLabels}`,
  );
}

function row(what: string, { evaluation, classNames }: RunResult): Row {
  return { what, accuracy: evaluation.top1, videos: evaluation.predictions.length, names: classNames.length };
}

/** Writes the videos, unless they are there from an earlier run with the same settings. */
async function dataset(root: string, signal: AbortSignal): Promise<SyntheticDataset> {
  const record = join(root, 'dataset.json');
  const key = JSON.stringify(dataSettings);
  if (existsSync(record)) {
    const found = JSON.parse(await readFile(record, 'utf8'));
    if (found.key === key) return found.dataset;
  }
  note('Writing videos');
  const started = performance.now();
  const written = await writeSyntheticDataset(root, { ...dataSettings, signal });
  note(`wrote ${written.videoCount} videos in ${minutes(performance.now() - started)}`);
  await writeText(record, JSON.stringify({ key, dataset: written }));
  return written;
}

function printTable(rows: Row[]): void {
  const width = Math.max(...rows.map(({ what }) => what.length));
  print(`\n${''.padEnd(width)}   Acc@1   chance   videos`);
  for (const { what, accuracy, videos, names } of rows) {
    const chance = `${(100 / names).toFixed(1)} %`;
    print(
      `${what.padEnd(width)}  ${`${accuracy.toFixed(1)} %`.padStart(6)}  ${chance.padStart(6)}  ${String(videos).padStart(6)}`,
    );
  }
}

function exampleClip({ videoFolder, seen }: SyntheticDataset): string {
  return join(videoFolder, `${seen[0]!.replaceAll(' ', '_')}_val_000.mp4`);
}

function minutes(milliseconds: number): string {
  const seconds = Math.round(milliseconds / 1000);
  return `${Math.floor(seconds / 60)}:${String(seconds % 60).padStart(2, '0')} min`;
}
