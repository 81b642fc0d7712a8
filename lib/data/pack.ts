import { createReadStream } from 'node:fs';
import { stat } from 'node:fs/promises';
import { basename, dirname, join, resolve } from 'node:path';
import { checkKnownOptions, checkSize, type KnownOptions } from '../base/check';
import { CodedError } from '../base/error';
import { writeAtomically } from '../io';
import { readError } from '../io/file_bytes';
import { makeFolder } from '../io/text_file';
import { sampleKey } from './sources/labelled_shards';
import type { Source } from './sources/store';
import { TarWriter } from './sources/tar_writer';
import { requirePlainName, type VideoDataset, type VideoSample } from './video_dataset';

export interface PackOptions {
  /**
   * Archive to write. With `shardBytes` it is the pattern of the shards: `x.tar` gives x-000000.tar, x-000001.tar, …
   */
  output: string;
  /** A new shard begins when one has this many bytes; without it there is one archive. */
  shardBytes?: number;
  signal?: AbortSignal;
  /** Told after each video. */
  onProgress?: (done: number, total: number) => void;
}

const keys: KnownOptions<PackOptions> = { output: true, shardBytes: true, signal: true, onProgress: true };

/** An archive that was written. */
export interface Packed {
  path: string;
  videos: number;
  bytes: number;
}

/**
 * Copies the videos of a list into tar archives, in the order of the list and under their names, each with its label in a
 * `.cls` beside it: so an archive works as DATA.ROOT under the same list, and in place of a list.
 *
 * @throws ERR_ARGUMENT for an output that does not end in .tar, or that the videos come from; ERR_LIST_FORMAT for absolute names, names with "..", videos listed twice, and two that would
 *   share a label file;
 *   ERR_FILE_NOT_FOUND, ERR_FILE_READ, ERR_FILE_WRITE, ERR_ABORTED
 */
export async function packDataset(dataset: VideoDataset, options: PackOptions): Promise<Packed[]> {
  checkKnownOptions('packDataset', options, keys);
  checkOutput(dataset, options);
  const samples = checkedSamples(dataset);
  await makeFolder(dirname(options.output));
  const written: Packed[] = [];
  let next = 0;
  while (next < samples.length) {
    const path =
      options.shardBytes === undefined ? options.output : shardPath(options.output, written.length);
    const first = next;
    let bytes = 0;
    const { signal } = options;
    await writeAtomically(
      path,
      0,
      async (file) => {
        const tar = new TarWriter(file);
        while (next < samples.length && tar.position < (options.shardBytes ?? Infinity)) {
          await addSample(tar, samples[next]!);
          next++;
          options.onProgress?.(next, samples.length);
        }
        await tar.end();
        bytes = tar.position;
      },
      { signal },
    );
    written.push({ path, videos: next - first, bytes });
  }
  return written;
}

async function addSample(tar: TarWriter, sample: VideoSample): Promise<void> {
  const { source, name, labels, where } = sample;
  const size = source.length ?? (await sizeOf(source.path, where));
  await tar.add(name, size, readSource(source, size));
  const text = Buffer.from(labels.join(','));
  await tar.add(labelName(name), text.length, toIterable(text));
}

function checkedSamples(dataset: VideoDataset): VideoSample[] {
  const byLabelFile = new Map<string, VideoSample>();
  for (const sample of dataset.samples) {
    const { name, where } = sample;
    requirePlainName(sample);
    const other = byLabelFile.get(labelName(name));
    if (other?.name === name) {
      throw new CodedError(
        'ERR_LIST_FORMAT',
        `${where}: "${name}" is also in ${other.where}; an archive holds each video once`,
      );
    }
    if (other) {
      throw new CodedError(
        'ERR_LIST_FORMAT',
        `${where}: "${name}" and "${other.name}" (${other.where}) differ only behind the first dot; rename one`,
      );
    }
    byLabelFile.set(labelName(name), sample);
  }
  return [...dataset.samples];
}

/** A reader goes by the name; and what is read must not be replaced meanwhile. */
function checkOutput(dataset: VideoDataset, { output, shardBytes }: PackOptions): void {
  if (shardBytes !== undefined) checkSize('packDataset', 'shardBytes', shardBytes);
  if (!/\.tar$/i.test(output)) {
    throw new CodedError('ERR_ARGUMENT', `${output} must end in .tar, by which archives are known`);
  }
  const isWritten = (path: string) => {
    const place = resolve(path);
    if (shardBytes === undefined) return place === resolve(output);
    const number = Number(/-(\d{6,})\.tar$/.exec(place)?.[1]);
    return place === resolve(shardPath(output, number));
  };
  const read = dataset.samples.find((sample) => isWritten(sample.source.path));
  if (read) {
    throw new CodedError(
      'ERR_ARGUMENT',
      `${read.source.path} has videos of the list (${read.where}) and could be written over; name another output`,
    );
  }
}

function labelName(name: string): string {
  return `${sampleKey(name)}.cls`;
}

function shardPath(output: string, number: number): string {
  const stem = basename(output).replace(/\.tar$/i, '');
  return join(dirname(output), `${stem}-${String(number).padStart(6, '0')}.tar`);
}

async function sizeOf(path: string, where: string): Promise<number> {
  try {
    const info = await stat(path);
    // Looked at before opening: opening a named pipe would wait for ever.
    if (!info.isFile()) throw new CodedError('ERR_FILE_READ', `${where}: ${path} is not a regular file`);
    return info.size;
  } catch (error) {
    throw readError(`${where}: ${path}`, error);
  }
}

async function* readSource({ path, offset = 0 }: Source, size: number): AsyncGenerator<Uint8Array> {
  if (size === 0) return;
  try {
    yield* createReadStream(path, { start: offset, end: offset + size - 1, highWaterMark: 1 << 20 });
  } catch (error) {
    throw readError(path, error);
  }
}

async function* toIterable(bytes: Uint8Array): AsyncGenerator<Uint8Array> {
  yield bytes;
}
