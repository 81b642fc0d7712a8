import { posix, resolve } from 'node:path';
import { throwIfAborted } from '../../base/abort';
import { CodedError } from '../../base/error';
import { FileBytes } from '../../io/file_bytes';
import { archiveCodes, readArchiveIndex } from './archive_index';
import { expandBraces } from './brace_pattern';
import { readKept, stampOf, writeKept } from './kept_file';
import type { ListingOptions } from './listing';
import type { Member } from './member';

/** A video of a shard with what its neighbours say about it. */
export interface LabelledMember {
  /** Path of the video inside its shard. */
  name: string;
  /** Path of the shard. */
  archive: string;
  offset: number;
  length: number;
  /** Contents of the `.cls` or `.json` beside it: a number or a list of numbers, if the file is right. */
  label: unknown;
  /** Archive and member, for messages. */
  where: string;
}

const videoName = /\.(mp4|m4v|mov|avi|mkv|webm|mpe?g|ts|ogv|flv|3gp|wmv)$/i;
/** Most bytes of a label file. */
const maxLabel = 1 << 20;
const version = 1;

/** Where the labels of a shard are kept. */
export function labelsPath(shard: string): string {
  return `${shard}.labels.json`;
}

/** True for names of files that are taken for videos. */
export function isVideoName(name: string): boolean {
  return videoName.test(name);
}

/**
 * The videos of one archive or of a range of shards in the layout of WebDataset: the files of a sample share their path
 * up to the first dot of the last part; the label is in `.cls` (digits) or else in `.json` (`label` or `cls`). Labels are
 * read once and kept in a JSON file beside the shard, as its index is: one read for each of them takes long on a slow disk.
 *
 * @throws ERR_LIST_FORMAT for a video without a label file; ERR_ARCHIVE_FORMAT, ERR_FILE_NOT_FOUND, ERR_FILE_READ,
 *   ERR_ARGUMENT, ERR_ABORTED
 */
export async function readLabelledShards(
  pattern: string,
  options: ListingOptions = {},
): Promise<LabelledMember[]> {
  const samples: LabelledMember[] = [];
  for (const shard of expandBraces(pattern)) {
    const stamp = await stampOf(shard, version);
    const members = await readArchiveIndex(shard, options);
    const videos = members.filter(({ name }) => isVideoName(name));
    const known = toLabels(await readKept(labelsPath(shard), stamp), videos);
    const labels = known ?? (await readLabels(shard, videos, members, options.signal));
    if (!known) {
      const pairs = videos.map(({ name }, i) => [name, labels[i]]);
      await writeKept(labelsPath(shard), stamp, { labels: pairs });
    }
    for (const [i, { name, offset, length }] of videos.entries()) {
      const where = `${shard}: ${name}`;
      samples.push({ name, archive: resolve(shard), offset, length, label: labels[i], where });
    }
  }
  return samples;
}

/** The kept labels, if they are those of these videos. */
function toLabels(
  kept: Record<string, unknown> | undefined,
  videos: readonly Member[],
): unknown[] | undefined {
  if (!Array.isArray(kept?.labels) || kept.labels.length !== videos.length) return undefined;
  const pairs = kept.labels as unknown[];
  const isSound = pairs.every((pair, i) => Array.isArray(pair) && pair[0] === videos[i]!.name);
  return isSound ? pairs.map((pair) => (pair as unknown[])[1]) : undefined;
}

/** What the files beside the videos of a shard say, in the order of the videos. */
async function readLabels(
  shard: string,
  videos: readonly Member[],
  members: readonly Member[],
  signal: AbortSignal | undefined,
): Promise<unknown[]> {
  const besides = new Map<string, Member>();
  // Where a sample has both, .json holds what else is known of it.
  for (const ending of [/\.json$/i, /\.cls$/i]) {
    for (const member of members) if (ending.test(member.name)) besides.set(sampleKey(member.name), member);
  }
  const labels: unknown[] = [];
  const file = await FileBytes.open(shard, archiveCodes);
  try {
    for (const { name } of videos) {
      throwIfAborted(signal, `${shard}: reading labels was aborted`);
      const where = `${shard}: ${name}`;
      const beside = besides.get(sampleKey(name));
      if (!beside)
        throw new CodedError('ERR_LIST_FORMAT', `${where}: there is no .cls or .json with its label`);
      labels.push(await readLabel(file, beside, where));
    }
  } finally {
    await file.close();
  }
  return labels;
}

/** What the files of a sample have in common: the path up to the first dot of its last part. */
export function sampleKey(name: string): string {
  const base = posix.basename(name);
  const dot = base.indexOf('.', 1);
  return posix.join(posix.dirname(name), dot < 0 ? base : base.slice(0, dot));
}

async function readLabel(file: FileBytes, { name, offset, length }: Member, where: string): Promise<unknown> {
  if (length > maxLabel) {
    throw new CodedError('ERR_LIST_FORMAT', `${where}: its label file "${name}" has ${length} bytes`);
  }
  const text = Buffer.from(await file.read(offset, length))
    .toString('utf8')
    .trim();
  if (!/\.json$/i.test(name)) return text;
  try {
    const record = JSON.parse(text) as { label?: unknown; cls?: unknown } | number | null;
    return typeof record === 'object' ? (record?.label ?? record?.cls ?? null) : record;
  } catch (error) {
    throw new CodedError(
      'ERR_LIST_FORMAT',
      `${where}: "${name}" is not valid JSON (${(error as Error).message})`,
    );
  }
}
