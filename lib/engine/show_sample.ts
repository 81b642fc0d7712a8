import { join } from 'node:path';
import { throwIfAborted } from '../base/abort';
import type { Config } from '../config/schema';
import { abortable } from '../data/abortable';
import { sampleRandom } from '../data/random';
import type { ListingOptions } from '../data/sources/listing';
import { writeAtomically } from '../io';
import { makeFolder, writeText } from '../io/text_file';
import { videoAddon } from '../native/video';
import { encodePng } from './png';
import { datasetOf, testPlannerOf, trainPlannerOf } from './setup';

/** Which views of which sample; the signal ends the decoding and the writing, too. */
export interface ShowOptions extends ListingOptions {
  /** Index in the list. */
  index: number;
  /** Epoch whose random draws are shown. */
  epoch: number;
  /** The training view of DATA.TRAIN_FILE, or the test views of DATA.VAL_FILE as TEST says. */
  kind: 'train' | 'test';
  /** Folder for the pictures. */
  output: string;
}

/** What was written. */
export interface ShownSample {
  /** Path of the video, or archive and member. */
  location: string;
  label: number;
  views: number;
  frames: number;
  /** Path of the contact sheet: a row per view, or several when there are many frames. */
  sheet: string;
}

const framesPerRow = 8;

/**
 * Writes what the model is shown of one sample, pixel for pixel, before normalisation and mixing: a PNG of each frame, a
 * contact sheet, and the plan as JSON, which executed on the video gives the same again.
 *
 * @throws what opening lists and videos throws; ERR_INDEX_RANGE, ERR_FILE_WRITE, ERR_ABORTED
 */
export async function showSample(config: Config, options: ShowOptions): Promise<ShownSample> {
  const { index, epoch, kind, output, signal, onListing } = options;
  const key = kind === 'train' ? 'TRAIN_FILE' : 'VAL_FILE';
  const sample = (await datasetOf(config, key, { signal, onListing })).at(index);
  const views = { clips: config.TEST.NUM_CLIP, crops: config.TEST.NUM_CROP };
  const planner = kind === 'train' ? trainPlannerOf(config) : testPlannerOf(config, views);
  const [frames = 1, , side = 1] = planner.shape.slice(-4);
  const viewCount = planner.shape.length === 5 ? planner.shape[0]! : 1;
  const frameBytes = side * side * 3;
  const pixels = new Uint8Array(viewCount * frames * frameBytes);
  const addon = videoAddon();
  const limits = { deadlineMs: 1000 * config.DATA.DEADLINE };
  const video = await abortable(signal, (cancel) => addon.openVideo(sample.source, limits, cancel));
  const plan = await (async () => {
    try {
      const made = planner.plan(addon.videoInfo(video), sampleRandom(config.SEED, epoch, index));
      await abortable(signal, (cancel) => addon.runPlan(video, made, pixels, 0, undefined, cancel));
      return made;
    } finally {
      addon.closeVideo(video);
    }
  })();

  await makeFolder(output);
  const { location, label } = sample;
  const record = { location, label, kind, index, epoch, seed: config.SEED, plan };
  await writeText(join(output, 'plan.json'), `${JSON.stringify(record, null, 2)}\n`);
  for (let i = 0; i < viewCount * frames; i++) {
    throwIfAborted(signal, `writing pictures to ${output} was aborted`);
    const name = `view_${pad(Math.floor(i / frames))}_frame_${pad(i % frames)}.png`;
    await writePng(join(output, name), pixels.subarray(i * frameBytes, (i + 1) * frameBytes), side, side);
  }
  const sheet = join(output, 'contact_sheet.png');
  const columns = Math.min(frames, framesPerRow);
  const picture = contactSheet(pixels, viewCount, frames, columns, side);
  await writePng(sheet, picture, columns * side, picture.length / (columns * side * 3));
  return { location, label, views: viewCount, frames, sheet };
}

/** RGB pictures [V * T, side, side, 3] to one picture, `columns` wide; each view begins a row. */
export function contactSheet(
  pixels: Uint8Array,
  views: number,
  frames: number,
  columns: number,
  side: number,
): Uint8Array {
  const rowsPerView = Math.ceil(frames / columns);
  const stride = columns * side * 3;
  const sheet = new Uint8Array(views * rowsPerView * side * stride);
  for (let i = 0; i < views * frames; i++) {
    const frame = i % frames;
    const row = Math.floor(i / frames) * rowsPerView + Math.floor(frame / columns);
    for (let y = 0; y < side; y++) {
      const from = (i * side + y) * side * 3;
      sheet.set(
        pixels.subarray(from, from + side * 3),
        (row * side + y) * stride + (frame % columns) * side * 3,
      );
    }
  }
  return sheet;
}

async function writePng(path: string, pixels: Uint8Array, width: number, height: number): Promise<void> {
  const bytes = encodePng(pixels, width, height);
  await writeAtomically(path, bytes.length, (file) => file.append(bytes));
}

function pad(value: number): string {
  return String(value).padStart(2, '0');
}
