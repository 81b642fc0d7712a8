import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { loadConfig } from '../../lib/config/load';
import { readLabels } from '../../lib/data/labels';

const FOLDER = join(__dirname, '..', '..', 'configs');

/** The published settings: architecture, frames, classes, batch, accumulation, epochs, learning rate. */
const TABLE = {
  'k400/32_8': ['ViT-B/32', 8, 400, 8, 4, 30, 8e-6],
  'k400/32_16': ['ViT-B/32', 16, 400, 8, 4, 30, 8e-6],
  'k400/16_8': ['ViT-B/16', 8, 400, 8, 4, 30, 8e-6],
  'k400/16_16': ['ViT-B/16', 16, 400, 4, 8, 30, 8e-6],
  'k400/16_32': ['ViT-B/16', 32, 400, 4, 8, 30, 8e-6],
  'k400/14_8': ['ViT-L/14', 8, 400, 4, 8, 30, 8e-6],
  'k400/14_16_336': ['ViT-L/14@336px', 16, 400, 1, 32, 30, 8e-6],
  'k600/16_8': ['ViT-B/16', 8, 600, 8, 4, 30, 8e-6],
  'k600/16_16': ['ViT-B/16', 16, 600, 4, 8, 30, 8e-6],
  'k600/14_8': ['ViT-L/14', 8, 600, 4, 8, 30, 8e-6],
  'hmdb51/16_32': ['ViT-B/16', 32, 51, 4, 2, 50, 2e-6],
  'ucf101/16_32': ['ViT-B/16', 32, 101, 4, 2, 50, 2e-6],
} as const;
const DATASETS: Record<string, string> = {
  k400: 'kinetics400',
  k600: 'kinetics600',
  hmdb51: 'hmdb51',
  ucf101: 'ucf101',
};

test('there are the published ones and no others', () => {
  const found = readdirSync(FOLDER).flatMap((folder) =>
    readdirSync(join(FOLDER, folder)).map((file) => `${folder}/${file.replace('.yaml', '')}`),
  );
  expect(found.filter((name) => name.split('/')[0]! in DATASETS).sort()).toEqual(Object.keys(TABLE).sort());
});

test.each(Object.entries(TABLE))('%s', (name, [arch, frames, classes, batch, accumulation, epochs, rate]) => {
  const { DATA, MODEL, TRAIN } = loadConfig({ cfg: `configs/${name}.yaml` });
  expect([MODEL.ARCH, DATA.NUM_FRAMES, DATA.NUM_CLASSES]).toEqual([arch, frames, classes]);
  expect([TRAIN.BATCH_SIZE, TRAIN.ACCUMULATION_STEPS, TRAIN.EPOCHS, TRAIN.LR]).toEqual([
    batch,
    accumulation,
    epochs,
    rate,
  ]);
  expect(DATA.DATASET).toBe(DATASETS[name.split('/')[0]!]);
  expect(readLabels(DATA.LABEL_LIST).length).toBe(classes);
  const isLarge = name.endsWith('336');
  expect([DATA.INPUT_SIZE, TRAIN.USE_CHECKPOINT]).toEqual(isLarge ? [336, true] : [224, false]);
});

test.each(Object.keys(TABLE))('%s holds differences only', (name) => {
  const source = readFileSync(join(FOLDER, `${name}.yaml`), 'utf8');
  expect(source.trimEnd().split('\n').length).toBeLessThanOrEqual(12);
  const defaults = loadConfig() as unknown as Record<string, Record<string, unknown>>;
  let section = '';
  for (const line of source.split('\n')) {
    const [, indent, key, value] = /^(\s*)(\w+):\s*(.*)$/.exec(line) ?? [];
    if (indent === '') section = key!;
    else if (key) expect([key, value]).not.toEqual([key, String(defaults[section]![key])]);
  }
});
