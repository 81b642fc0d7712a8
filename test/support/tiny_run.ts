import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Philox } from '../../lib/base/philox';
import { loadConfig } from '../../lib/config/load';
import type { Config } from '../../lib/config/schema';
import { drawVideo, syntheticClasses } from '../../lib/data/synthetic';
import { videoAddon } from '../../lib/native/video';

/** A folder with a few real videos of three classes and a configuration of a small model that takes milliseconds. */
export interface TinyRun {
  root: string;
  /** The YAML file; DATA paths in it are absolute. */
  cfg: string;
  names: string[];
  /** The configuration with values changed: `['TRAIN.EPOCHS', '3']`. */
  config(opts?: string[]): Config;
  remove(): void;
}

const frameCount = 10;
const side = 32;

/** @param trainPerClass, @param valPerClass videos of each of the three classes */
export async function makeTinyRun(trainPerClass = 3, valPerClass = 1): Promise<TinyRun> {
  const root = mkdtempSync(join(tmpdir(), 'tiny-run-'));
  const videos = join(root, 'videos');
  mkdirSync(videos);
  const { seen } = syntheticClasses(['easy']);
  const classes = ['red', 'green', 'blue'].map((color) => seen.find((what) => what.color === color)!);
  const lists = { train: '', val: '' };
  for (const [label, what] of classes.entries()) {
    for (let k = 0; k < trainPerClass + valPerClass; k++) {
      const name = `${what.name} ${k}.mp4`;
      const frames = drawVideo(what, frameCount, side, new Philox(label, k));
      await videoAddon().encodeVideo(join(videos, name), { width: side, height: side, fps: 10 }, frames);
      lists[k < trainPerClass ? 'train' : 'val'] += `${name} ${label}\n`;
    }
  }
  const names = classes.map(({ name }) => name);
  writeFileSync(join(root, 'train.txt'), lists.train);
  writeFileSync(join(root, 'val.txt'), lists.val);
  writeFileSync(join(root, 'labels.csv'), `id,name\n${names.map((name, id) => `${id},${name}\n`).join('')}`);
  const cfg = join(root, 'tiny.yaml');
  writeFileSync(cfg, yaml(root));
  return {
    root,
    cfg,
    names,
    config: (opts = []) => loadConfig({ cfg, opts }),
    remove: () => rmSync(root, { recursive: true, force: true }),
  };
}

function yaml(root: string): string {
  return `DATA:
  ROOT: ${root}/videos
  TRAIN_FILE: ${root}/train.txt
  VAL_FILE: ${root}/val.txt
  LABEL_LIST: ${root}/labels.csv
  DATASET: tiny
  NUM_CLASSES: 3
  NUM_FRAMES: 4
  INPUT_SIZE: 32
MODEL:
  ARCH: custom
  DROP_PATH_RATE: 0.1
  CUSTOM:
    embed_dim: 64
    patch: 16
    vision_width: 64
    vision_layers: 2
    text_width: 64
    text_layers: 1
    prompt_layers: 1
TRAIN:
  EPOCHS: 2
  WARMUP_EPOCHS: 0
  LR: 1.e-3
  LR_SCALE_NEW: 1
  BATCH_SIZE: 2
  OPT_LEVEL: O0
TEST:
  BATCH_SIZE: 2
PRINT_FREQ: 1
SEED: 7
`;
}
