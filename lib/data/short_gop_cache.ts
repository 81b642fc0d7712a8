import { existsSync } from 'node:fs';
import { readFile, rename } from 'node:fs/promises';
import { dirname, join, resolve } from 'node:path';
import { checkKnownOptions, type KnownOptions } from '../base/check';
import { CodedError } from '../base/error';
import { writeError } from '../io/atomic_file';
import { readError } from '../io/file_bytes';
import { makeFolder, writeText } from '../io/text_file';
import {
  type CancelToken,
  type EncoderHandle,
  type VideoAddon,
  type VideoPlan,
  videoAddon,
} from '../native/video';
import { DiskFailures } from './disk_failures';
import { forEachVideo } from './for_each_video';
import { formatList, type ListEntry } from './list_file';
import { resizeShortSide } from './transforms/resize_short_side';
import { requirePlainName, type VideoDataset, type VideoSample } from './video_dataset';
import { videoFault } from './video_fault';
import { withWorkFolder } from './work_folder';

/** How the copies are made. */
export interface CacheSettings {
  /** Short side of the copies in pixels; smaller videos keep their size. */
  shortSide: number;
  /** Distance of key frames: between two wanted frames at most this many have to be decoded. */
  gop: number;
  /** Constant quality, 1 (best) to 31. */
  quality: number;
}

const settingKeys: KnownOptions<CacheSettings> = { shortSide: true, gop: true, quality: true };

export interface CacheOptions {
  /** Folder of the copies. */
  output: string;
  /** Name of the new list in it. */
  listName: string;
  settings: CacheSettings;
  signal?: AbortSignal;
  /** Told after each video. */
  onProgress?: (done: number, total: number) => void;
}

const keys: KnownOptions<CacheOptions> = {
  output: true,
  listName: true,
  settings: true,
  signal: true,
  onProgress: true,
};

/** A video that could not be copied. */
export interface CacheFailure {
  name: string;
  /** Line of the list, and path or archive and member. */
  where: string;
  location: string;
  code: string;
  reason: string;
}

export interface CacheResult {
  /** The list of the copies. */
  list: string;
  entries: ListEntry[];
  failed: CacheFailure[];
}

/** Frames are in memory between decoding and encoding: about so many bytes of each video. */
const pieceBytes = 2 ** 24;
const deadlineMs = 600_000;

/**
 * Writes a smaller copy of each video with a key frame every few frames, and a list of the copies: training decodes a few
 * frames per video, and with short distances between key frames hardly any others. Copies that are there from an earlier
 * call with the same settings stay, so an interrupted call goes on; what a killed one left unfinished is removed.
 *
 * @throws ERR_ARGUMENT for settings that there are none of, when the folder has the originals, or copies with others; ERR_LIST_FORMAT for names that are
 *   no plain paths, and for two whose copies would be one;
 *   ERR_FILE_READ when nobody can tell what copies there are; ERR_FILE_WRITE, ERR_VIDEO_ENCODE, ERR_ABORTED; ERR_SYSTEM, also when the disk refuses to read one video after the other.
 *   Videos that cannot be read are reported and left out of the list.
 */
export async function cacheDataset(dataset: VideoDataset, options: CacheOptions): Promise<CacheResult> {
  checkKnownOptions('cacheDataset', options, keys);
  const { output, listName, settings, signal, onProgress } = options;
  checkSettings(settings);
  checkNames(dataset, options);
  await makeFolder(output);
  await claim(output, settings);
  const addon = videoAddon();
  const failed = new Map<string, CacheFailure>();
  const samples = [...new Map(dataset.samples.map((sample) => [sample.name, sample])).values()];
  let done = 0;
  const refused = new DiskFailures<string>();
  const aborted = 'caching was aborted; the same command goes on';
  await withWorkFolder(output, (work) =>
    forEachVideo(samples, { signal, aborted }, async (sample, cancel) => {
      const copy = cachedName(sample.name);
      const [target, unfinished] = [join(output, copy), join(work, copy)];
      const begun = refused.now();
      const fault = existsSync(target)
        ? undefined
        : await copyVideo(addon, sample, { target, unfinished }, settings, cancel).catch(faultOrThrow);
      const { name, where, location } = sample;
      if (fault) failed.set(name, { name, where, location, ...fault });
      if (fault?.code === 'ERR_FILE_IO') refused.add(sample.name, fault.reason);
      else refused.release(begun);
      done++;
      onProgress?.(done, samples.length);
    }),
  );
  const entries = dataset.samples
    .filter(({ name }) => !failed.has(name))
    .map(({ name, labels, where }) => ({ name: cachedName(name), labels, where }));
  const list = join(output, listName);
  await writeText(list, formatList(entries, list));
  return { list, entries, failed: samples.flatMap(({ name }) => failed.get(name) ?? []) };
}

/** Copies are MP4 files. */
export function cachedName(name: string): string {
  return /\.mp4$/.test(name) ? name : `${name}.mp4`;
}

/** What the video did wrong. @throws `error` when it is not its fault */
function faultOrThrow(error: unknown): { code: string; reason: string } {
  const fault = videoFault(error);
  if (fault) return fault;
  throw error;
}

/** Refuses what the encoder would, before the folder is claimed for it. */
function checkSettings(settings: CacheSettings): void {
  checkKnownOptions('cacheDataset: settings', settings, settingKeys);
  const ranges = { shortSide: [2, 32768], gop: [1, 600], quality: [1, 31] } as const;
  for (const [name, [least, most]] of Object.entries(ranges)) {
    const value = settings[name as keyof CacheSettings];
    if (Number.isInteger(value) && value >= least && value <= most) continue;
    throw new CodedError('ERR_ARGUMENT', `${name} must be an integer in ${least}..${most}, got ${value}`);
  }
}

/** Refuses, before any work, what could not be written in the end. */
function checkNames({ samples, root }: VideoDataset, { output, listName }: CacheOptions): void {
  if (root !== undefined && resolve(root) === resolve(output)) {
    throw new CodedError(
      'ERR_ARGUMENT',
      `${output} has the originals, which copies must not mix with; name another folder`,
    );
  }
  const byCopy = new Map<string, VideoSample>();
  for (const sample of samples) {
    requirePlainName(sample);
    const copy = cachedName(sample.name);
    const other = byCopy.get(copy);
    if (other && other.name !== sample.name) {
      throw new CodedError(
        'ERR_LIST_FORMAT',
        `${sample.where}: the copies of "${sample.name}" and "${other.name}" (${other.where}) would both be "${copy}"; rename one`,
      );
    }
    byCopy.set(copy, sample);
  }
  formatList(
    samples.map(({ name, labels }) => ({ name: cachedName(name), labels })),
    listName,
  );
}

/** Notes the settings in the folder, or compares them with those that are there. @throws ERR_ARGUMENT, ERR_FILE_READ */
async function claim(output: string, settings: CacheSettings): Promise<void> {
  const path = join(output, 'cache.json');
  const text = `${JSON.stringify(settings)}\n`;
  const found = await readFile(path, 'utf8').catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return undefined;
    throw readError(path, error);
  });
  if (found === undefined) return writeText(path, text);
  if (found !== text) {
    throw new CodedError(
      'ERR_ARGUMENT',
      `${output} has copies with other settings (${found.trim()}); name another folder or remove it`,
    );
  }
}

async function copyVideo(
  addon: VideoAddon,
  { source }: VideoSample,
  { target, unfinished }: { target: string; unfinished: string },
  { shortSide, gop, quality }: CacheSettings,
  cancel: CancelToken,
): Promise<void> {
  const video = await addon.openVideo(source, { deadlineMs }, cancel);
  let copy: EncoderHandle | undefined;
  try {
    const { frameCount, width, height, fps } = addon.videoInfo(video);
    const smaller =
      Math.min(width, height) > shortSide ? resizeShortSide([width, height], shortSide) : [width, height];
    const size: [number, number] = [even(smaller[0]!), even(smaller[1]!)];
    const pictureBytes = size[0] * size[1] * 3;
    const pieceLength = Math.min(frameCount, Math.max(1, Math.floor(pieceBytes / pictureBytes)));
    const piece = new Uint8Array(pieceLength * pictureBytes);
    const rate = Math.min(1000, Math.max(0.01, fps));
    await makeFolder(dirname(unfinished));
    copy = await addon.openEncoder(unfinished, { width: size[0], height: size[1], fps: rate, gop, quality });
    for (let first = 0; first < frameCount; first += pieceLength) {
      const count = Math.min(pieceLength, frameCount - first);
      const plan: VideoPlan = {
        frames: Array.from({ length: count }, (_, i) => first + i),
        resize: size,
        crops: [[0, 0, ...size]],
        size,
        flip: false,
        jitter: null,
        gray: false,
        mean: [0, 0, 0],
        std: [1, 1, 1],
      };
      await addon.runPlan(video, plan, piece, 0, undefined, cancel);
      await addon.writeFrames(copy, piece.subarray(0, count * pictureBytes), cancel);
    }
    await addon.finishEncoder(copy);
    await makeFolder(dirname(target));
    await rename(unfinished, target).catch((error) => {
      throw writeError(target, error);
    });
  } finally {
    addon.closeVideo(video);
    if (copy) addon.closeEncoder(copy);
  }
}

function even(side: number): number {
  return Math.max(2, 2 * Math.round(side / 2));
}
