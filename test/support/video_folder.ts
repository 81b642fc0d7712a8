import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { videoAddon } from '../../lib/native/video';
import { numberedFrames } from './video';

/** A folder with small real videos (64 x 48) and a list of them. */
export interface VideoFolder {
  root: string;
  /** Folder of the videos. */
  videos: string;
  list: string;
  remove(): void;
}

/** @param files name and label of each video; video i has 12 frames, numbered from 20 * i on */
export async function makeVideoFolder(files: readonly (readonly [string, number])[]): Promise<VideoFolder> {
  const root = mkdtempSync(join(tmpdir(), 'videos-'));
  const videos = join(root, 'videos');
  const list = join(root, 'list.txt');
  for (const [i, [name]] of files.entries()) {
    const path = join(videos, name);
    mkdirSync(dirname(path), { recursive: true });
    const options = { width: 64, height: 48, fps: 10, gop: 4 };
    await videoAddon().encodeVideo(path, options, numberedFrames(12, 64, 48, 20 * i));
  }
  writeFileSync(list, files.map(([name, label]) => `${name} ${label}\n`).join(''));
  return { root, videos, list, remove: () => rmSync(root, { recursive: true, force: true }) };
}

/** Overwrites the coded pictures of an MP4 file from the middle on; its tables stay. */
export function damageVideo(path: string): void {
  const bytes = readFileSync(path);
  const start = bytes.indexOf('mdat') + 4;
  const size = bytes.readUInt32BE(start - 8) - 8;
  bytes.fill(0xff, start + Math.floor(size / 2), start + size);
  writeFileSync(path, bytes);
}
