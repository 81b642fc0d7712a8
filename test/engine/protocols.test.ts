import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { Philox } from '../../lib/base/philox';
import { loadConfig } from '../../lib/config/load';
import { formatList, readList } from '../../lib/data/list_file';
import { packDataset } from '../../lib/data/pack';
import { fewShot } from '../../lib/data/prepare/few_shot';
import { type DatasetName, prepareDataset } from '../../lib/data/prepare/prepare';
import { drawVideo, syntheticClasses } from '../../lib/data/synthetic';
import { VideoDataset } from '../../lib/data/video_dataset';
import type { Results } from '../../lib/engine/results';
import { run } from '../../lib/engine/run';
import { videoAddon } from '../../lib/native/video';
import { runCli } from '../support/built_cli';

// Every setting of the paper from official annotations to results.json, with its own configuration file; only the model is
// made small, the data sets are generated, and training lasts one epoch.

const trainPerClass = 16;
const valPerClass = 1;
const classes = {
  kinetics400: ['air drumming', 'abseiling', 'zumba'],
  kinetics600: ['air drumming', 'luge', 'packing', 'staring'],
  hmdb51: ['brush hair', 'cartwheel', 'catch'],
  ucf101: ['ApplyEyeMakeup', 'Archery', 'YoYo'],
};
const small = [
  ...['MODEL.ARCH', 'custom', 'MODEL.CUSTOM.embed_dim', '64', 'MODEL.CUSTOM.patch', '16'],
  ...['MODEL.CUSTOM.vision_width', '64', 'MODEL.CUSTOM.vision_layers', '1', 'MODEL.CUSTOM.text_width', '64'],
  ...[
    'MODEL.CUSTOM.text_layers',
    '1',
    'MODEL.CUSTOM.prompt_layers',
    '1',
    'MODEL.CUSTOM.context_length',
    '12',
  ],
  ...['TRAIN.EPOCHS', '1', 'TRAIN.OPT_LEVEL', 'O0', 'TEST.BATCH_SIZE', '4', 'PRINT_FREQ', '1'],
];

let root: string;
const at = (...parts: string[]) => join(root, ...parts);
beforeAll(async () => {
  root = mkdtempSync(join(tmpdir(), 'protocols-'));
  await writeVideos();
  for (const dataset of Object.keys(classes) as DatasetName[]) {
    const names = classes[dataset];
    put(at(dataset, 'labels.csv'), `id,name\n${names.map((name, id) => `${id},${name}\n`).join('')}`);
    annotate[dataset](at(dataset, 'annotations'), names);
    await prepareDataset({
      dataset,
      root: at('videos'),
      annotations: at(dataset, 'annotations'),
      output: at(dataset),
      labels: at(dataset, 'labels.csv'),
      ...(dataset === 'kinetics600' ? { zeroShotClasses: 2 } : {}),
    });
  }
});
afterAll(() => rmSync(root, { recursive: true }));

/** Runs of 16 + 1 videos of four classes, drawn; every data set gives them its own class names. */
async function writeVideos(): Promise<void> {
  const kinds = syntheticClasses(['easy']).seen.slice(0, 4);
  mkdirSync(at('videos'));
  for (const [label, kind] of kinds.entries()) {
    for (let k = 0; k < trainPerClass + valPerClass; k++) {
      const frames = drawVideo(kind, 10, 32, new Philox(label, k));
      await videoAddon().encodeVideo(
        at('videos', `${stem(label, k)}.mp4`),
        { width: 32, height: 32, fps: 10 },
        frames,
      );
    }
  }
}

function stem(label: number, k: number): string {
  return `clip${label}x${k}_000000_000010`;
}

function put(path: string, text: string): void {
  mkdirSync(dirname(path), { recursive: true });
  writeFileSync(path, text);
}

function each(
  names: readonly string[],
  line: (name: string, label: number, k: number, isTrain: boolean) => string,
) {
  return names.flatMap((name, label) =>
    Array.from({ length: trainPerClass + valPerClass }, (_, k) => line(name, label, k, k < trainPerClass)),
  );
}

function annotateKinetics(folder: string, names: readonly string[]): void {
  const rows = each(
    names,
    (name, label, k, isTrain) => `${name},clip${label}x${k},0,10,${isTrain ? 'train' : 'validate'}`,
  );
  put(join(folder, 'all.csv'), `label,youtube_id,time_start,time_end,split\n${rows.join('\n')}\n`);
}

/** Writes annotations in the official formats. */
const annotate: Record<DatasetName, (folder: string, names: readonly string[]) => void> = {
  kinetics400: annotateKinetics,
  kinetics600: annotateKinetics,
  ucf101: (folder, names) => {
    const lines = each(
      names,
      (name, label, k, isTrain) => `${isTrain ? 'train' : 'test'} ${name}/${stem(label, k)}.avi`,
    );
    for (const split of [1, 2, 3]) {
      for (const kind of ['train', 'test']) {
        const own = lines.filter((line) => line.startsWith(kind)).map((line) => line.slice(kind.length + 1));
        put(join(folder, `${kind}list0${split}.txt`), own.join('\n'));
      }
    }
  },
  hmdb51: (folder, names) => {
    for (const [label, name] of names.entries()) {
      const lines = each([name], (_, __, k, isTrain) => `${stem(label, k)}.avi ${isTrain ? 1 : 2}`);
      for (const split of [1, 2, 3]) {
        put(join(folder, `${name.replaceAll(' ', '_')}_test_split${split}.txt`), lines.join('\n'));
      }
    }
  },
};

function dataOpts(dataset: DatasetName, train: string, val: string): string[] {
  return [
    ...['DATA.ROOT', at('videos'), 'DATA.NUM_CLASSES', String(classes[dataset].length)],
    ...['DATA.TRAIN_FILE', at(dataset, train), 'DATA.VAL_FILE', at(dataset, val)],
    ...['DATA.LABEL_LIST', at(dataset, 'labels.csv')],
  ];
}

/** Trains; the results are those of the test in 4 x 3 views that follows. */
async function train(cfg: string, opts: string[], output: string): Promise<Results> {
  await run(loadConfig({ cfg, opts: [...small, ...opts], flags: { output } }));
  return JSON.parse(readFileSync(join(output, 'results.json'), 'utf8')) as Results;
}

test.each([
  ['k400/32_8', 8],
  ['k400/32_16', 16],
  ['k400/16_8', 8],
  ['k400/16_16', 16],
  ['k400/16_32', 32],
  ['k400/14_8', 8],
  ['k400/14_16_336', 16],
  ['k600/16_8', 8],
  ['k600/16_16', 16],
  ['k600/14_8', 8],
])('fully supervised, %s', async (name, frames) => {
  const dataset = name.startsWith('k400') ? 'kinetics400' : 'kinetics600';
  const lists = { train: at(dataset, 'few.txt'), val: at(dataset, 'val.txt') };
  put(lists.train, formatList(fewShot(await readList(at(dataset, 'train.txt')), 3, 0)));
  const output = at('out', name);
  const side = name.endsWith('336') ? '48' : '32';
  const opts = [...dataOpts(dataset, 'few.txt', 'val.txt'), 'DATA.INPUT_SIZE', side];
  const results = await train(`configs/${name}.yaml`, opts, output);
  expect(results.protocol).toMatchObject({
    ...{ list: lists.val, root: at('videos'), frames, inputSize: Number(side), clips: 4, crops: 3 },
    ...{ sampling: 'even', videos: classes[dataset].length, failed: 0, onError: 'fail', checkpoint: null },
  });
  expect(results.classes.map(({ videos }) => videos)).toEqual(classes[dataset].map(() => 1));
  expect(readdirSync(output)).toContain('ckpt_epoch_0.pth');
});

describe.each(['hmdb51', 'ucf101'] as const)('few-shot, %s', (dataset) => {
  test.each([2, 4, 8, 16])('K = %d', async (k) => {
    const list = `few_${k}.txt`;
    put(at(dataset, list), formatList(fewShot(await readList(at(dataset, 'train_split1.txt')), k, 0)));
    const source = ['MODEL.PRETRAINED', at('out/k400/16_32/ckpt_epoch_0.pth'), 'DATA.INPUT_SIZE', '32'];
    const output = at('out', `${dataset}_${k}`);
    const opts = [...dataOpts(dataset, list, 'val_split1.txt'), ...source];
    const { protocol, classes: found, top1 } = await train(`configs/${dataset}/16_32.yaml`, opts, output);
    expect(protocol).toMatchObject({ frames: 32, videos: 3 });
    expect(found.map(({ name }) => name)).toEqual(classes[dataset]);
    const metrics = readFileSync(join(output, 'metrics.jsonl'), 'utf8');
    expect(metrics.split('\n').filter((line) => line.includes('"kind":"train"'))).toHaveLength(
      Math.floor((3 * k) / 4), // batches of 4, full ones only
    );
    expect(top1).toBeCloseTo((100 * found.reduce((sum, { correct }) => sum + correct, 0)) / 3, 10);
  });
});

test.each<[DatasetName, string, string, string, string]>([
  ['hmdb51', 'hmdb51/16_32', 'val_split{split}.txt', 'labels.csv', '3'],
  ['ucf101', 'ucf101/16_32', 'val_split{split}.txt', 'labels.csv', '3'],
  ['kinetics600', 'k400/16_32', 'zero_shot_val_split{split}.txt', 'zero_shot_labels_split{split}.csv', '2'],
])(
  'zero-shot, %s: mean and deviation over three splits, out of an archive',
  async (dataset, cfg, val, labels, count) => {
    // The videos come out of one tar here, so that this way runs from end to end too.
    const whole = dataset.startsWith('kinetics') ? 'val.txt' : 'val_split1.txt';
    const videos = await VideoDataset.fromList(at(dataset, whole), { root: at('videos') });
    await packDataset(videos, { output: at(dataset, 'videos.tar') });
    const output = at('out/zero_shot', dataset);
    const words = [
      ...['test', '-cfg', `configs/${cfg}.yaml`, '--resume', at('out/k400/16_32/ckpt_epoch_0.pth')],
      ...['--splits', '3', '--output', output, '--opts', ...small, 'DATA.INPUT_SIZE', '32'],
      ...['DATA.ROOT', at(dataset, 'videos.tar'), 'DATA.VAL_FILE', at(dataset, val)],
      ...['DATA.LABEL_LIST', at(dataset, labels), 'DATA.NUM_CLASSES', count],
    ];
    const { status, stdout, stderr } = await runCli(words);
    expect([status, stderr]).toEqual([0, '']);
    const summary = JSON.parse(readFileSync(join(output, 'splits.json'), 'utf8'));
    const splits = [1, 2, 3].map(
      (n) => JSON.parse(readFileSync(join(output, `split${n}/results.json`), 'utf8')) as Results,
    );
    expect(summary.top1).toEqual(splits.map(({ top1 }) => top1));
    expect(summary.top1Mean).toBeCloseTo(summary.top1.reduce((a: number, b: number) => a + b) / 3, 10);
    expect(splits.map(({ protocol }) => protocol.list)).toEqual(
      [1, 2, 3].map((n) => at(dataset, val.replace('{split}', String(n)))),
    );
    for (const { protocol, classes: own } of splits) {
      expect(protocol).toMatchObject({
        clips: 1,
        crops: 1,
        frames: 32,
        videos: Number(count),
        checkpoint: words[4],
      });
      expect(own).toHaveLength(Number(count));
    }
    expect(stdout).toMatch(
      / \* 3 splits: Acc@1 \d+\.\d{3} \(deviation \d+\.\d{3}\) Acc@5 100\.000 \(deviation 0\.000\)\n$/,
    );
  },
);
