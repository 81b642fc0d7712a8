import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { Philox } from '../../lib/base/philox';
import { VideoReader } from '../../lib/data/video_reader';
import { videoAddon } from '../../lib/native/video';
import { fixturePath, readFixture } from '../support/fixture';
import { sha256, temporaryFolder } from '../support/video';

const folder = temporaryFolder();
const addon = videoAddon();
addon.setWorkerCount(1);
const reused = () => addon.counters().decodersReused;
const all = (video: VideoReader) => Array.from({ length: video.length }, (_, i) => i);

/** Clips of one encoder setting: equal headers, other pictures. */
async function encodeAlike(count: number): Promise<string[]> {
  const [width, height, frames] = [96, 64, 24];
  return Promise.all(
    Array.from({ length: count }, async (_, number) => {
      const rgb = new Uint8Array(frames * width * height * 3).map(
        (_, i) =>
          128 +
          100 * Math.sin(Math.floor(i / 3) / (5 + number) + 2 * (i % 3)) +
          ((Math.imul(i, 2654435761) >>> 28) & 7),
      );
      const path = join(folder, `alike_${number}.mp4`);
      await addon.encodeVideo(path, { width, height, fps: 25, gop: 8, bFrames: 2 }, rgb);
      return path;
    }),
  );
}

/** Waits until a pause has closed the idle decoders, which a busy machine may take its time for. */
async function idleClosed(): Promise<void> {
  const started = performance.now();
  while (addon.counters().decodersIdle > 0 && performance.now() - started < 20_000)
    await new Promise((resolve) => setTimeout(resolve, 50));
  expect(addon.counters().decodersIdle).toBe(0);
}

/** The pictures that a process of its own, so to say, would give: with idle decoders gone. */
async function fresh(path: string): Promise<Uint8Array> {
  await idleClosed();
  using video = await VideoReader.open(path);
  return await video.getBatch(all(video));
}

test('a decoder that was used for other files gives the same pictures', async () => {
  const clips = readFixture<Record<string, { sha256: string }>>('video/clips.json');
  const fixtures = Object.keys(clips).filter((name) => name !== 'two_streams.mp4');
  const paths = [...(await encodeAlike(5)), ...fixtures.map((name) => fixturePath(`video/${name}`))];
  const expected = new Map<string, { pictures: Uint8Array; count: number; size: number }>();
  for (const path of paths) {
    using video = await VideoReader.open(path);
    const pictures = await fresh(path);
    expected.set(path, { pictures, count: video.length, size: video.width * video.height * 3 });
  }
  for (const name of fixtures) {
    expect(sha256(expected.get(fixturePath(`video/${name}`))!.pictures)).toBe(clips[name]!.sha256);
  }
  const before = reused();
  const random = new Philox(11, 0);
  for (let round = 0; round < 400; round++) {
    const path = paths[random.integer(round % 2 === 0 ? 5 : paths.length)]!;
    const { pictures, count, size } = expected.get(path)!;
    using video = await VideoReader.open(path);
    for (let reads = random.integer(3); reads >= 0; reads--) {
      const frame = random.integer(count);
      const wanted = pictures.subarray(frame * size, (frame + 1) * size);
      const same = Buffer.compare(await video.get(frame), wanted);
      expect({ path, frame, same }).toEqual({ path, frame, same: 0 });
    }
  }
  expect(reused() - before).toBeGreaterThan(150);
  expect(addon.counters().decodersIdle).toBeLessThanOrEqual(8);
});

test('idle decoders are few, and none are left after a pause', async () => {
  const [path] = await encodeAlike(1);
  addon.setWorkerCount(4);
  const videos = await Promise.all(Array.from({ length: 20 }, () => VideoReader.open(path!)));
  await Promise.all(videos.map((video) => video.get(3)));
  for (const video of videos) video.close();
  expect(addon.counters().decodersIdle).toBe(8);
  await idleClosed();
  addon.setWorkerCount(1);
});

test('idle decoders of large pictures are fewer', async () => {
  const [width, height] = [1920, 1088];
  const path = join(folder, 'large.mp4');
  await addon.encodeVideo(path, { width, height, fps: 25 }, new Uint8Array(width * height * 3));
  const videos = await Promise.all(
    Array.from({ length: 6 }, () => VideoReader.open(path, { shortSide: 32 })),
  );
  await Promise.all(videos.map((video) => video.get(0)));
  for (const video of videos) video.close();
  const { decodersIdle } = addon.counters();
  expect(decodersIdle).toBeGreaterThan(0);
  expect(decodersIdle).toBeLessThan(6);
});

/** The boxes of an MP4 from `at` to `end`: type, first byte and end. */
function* boxes(file: Buffer, at: number, end: number): Generator<{ type: string; at: number; end: number }> {
  while (at + 8 <= end) {
    const size = file.readUInt32BE(at);
    yield { type: file.toString('latin1', at + 4, at + 8), at, end: at + size };
    at += size;
  }
}

function findBox(file: Buffer, path: string[]): { at: number; end: number } {
  let place = { at: -8, end: file.length };
  for (const type of path) {
    const inside = [...boxes(file, place.at + 8, place.end)].find((box) => box.type === type);
    if (!inside) throw new Error(`no box ${type}`);
    place = inside;
  }
  return place;
}

/**
 * A copy of an MP4 whose samples come last, with `nals` before the slices of its first sample. The header stays as it is,
 * but for the size of that sample and the places of the chunks.
 */
function withNals(path: string, nals: Buffer[], name: string): string {
  const file = readFileSync(path);
  const table = ['moov', 'trak', 'mdia', 'minf', 'stbl'];
  const sizes = findBox(file, [...table, 'stsz']).at;
  const chunks = findBox(file, [...table, 'stco']).at;
  const first = file.readUInt32BE(chunks + 16);
  const added = Buffer.concat(
    nals.flatMap((nal) => {
      const length = Buffer.alloc(4);
      length.writeUInt32BE(nal.length);
      return [length, nal];
    }),
  );
  const media = findBox(file, ['mdat']).at;
  const moovFirst = findBox(file, ['moov']).at < media;
  file.writeUInt32BE(file.readUInt32BE(sizes + 20) + added.length, sizes + 20);
  for (let i = 0; i < file.readUInt32BE(chunks + 12); i++) {
    const place = chunks + 16 + 4 * i;
    if (file.readUInt32BE(place) > first) file.writeUInt32BE(file.readUInt32BE(place) + added.length, place);
  }
  expect(moovFirst || media < first).toBe(true);
  file.writeUInt32BE(file.readUInt32BE(media) + added.length, media);
  const result = join(folder, `${name}.mp4`);
  writeFileSync(result, Buffer.concat([file.subarray(0, first), added, file.subarray(first)]));
  return result;
}

/** The picture parameter set of an MP4's header. */
function pictureParameters(path: string): Buffer {
  const file = readFileSync(path);
  let at = file.indexOf('avcC', 0, 'latin1') + 4 + 6;
  at += 2 + file.readUInt16BE(at) + 1; // behind that of sequences, and the number of those of pictures
  return Buffer.from(file.subarray(at + 2, at + 2 + file.readUInt16BE(at)));
}

/** The same with the quantiser of a colour four steps further: the pictures of every slice come out otherwise. */
function changed(parameters: Buffer): Buffer {
  const other = Buffer.from(parameters);
  other[4]! ^= 0x80;
  return other;
}

const note = (text: string) =>
  Buffer.concat([
    Buffer.from([6, 5, 16 + text.length + 1]),
    Buffer.from('dc45e9bde6d948b7962cd820d923eeef', 'hex'),
    Buffer.from(`${text}\0`, 'latin1'),
    Buffer.from([0x80]),
  ]);

test('what a file sends within its stream does not reach the next one', async () => {
  const [path] = await encodeAlike(1);
  const wanted = await fresh(path!);
  const sets = pictureParameters(path!);
  const hostile = [
    [changed(sets)],
    [sets],
    [note('x264 - core 20')],
    [Buffer.from([6, 6, 1, 0xc4, 0x80])], // recovery point
    [Buffer.from([13, 0x80])],
    [Buffer.from([9, 0xf0]), changed(sets)],
  ].map((nals, i) => withNals(path!, nals, `hostile_${i}`));
  for (const name of hostile) {
    const before = reused();
    {
      using video = await VideoReader.open(name);
      await video.getBatch(all(video)).catch(() => {});
      await video.get(0).catch(() => {});
    }
    {
      using video = await VideoReader.open(path!);
      const same = Buffer.compare(await video.getBatch(all(video)), wanted);
      expect({ name, same, reused: reused() - before }).toEqual({
        name,
        same: 0,
        reused: expect.any(Number),
      });
    }
    // Neither was it given one, nor was its own handed on.
    expect(reused() - before).toBeLessThanOrEqual(1);
    expect(addon.counters().decodersIdle).toBe(1);
  }
  // The first of them does come out otherwise, so that a decoder of its would show.
  expect(Buffer.compare(await fresh(hostile[0]!), wanted)).not.toBe(0);
  // A copy made in the same way with what is harmless is given one.
  const harmless = withNals(path!, [note('x264 - core 164 r3095'), Buffer.from([9, 0xf0])], 'harmless');
  const before = reused();
  {
    using video = await VideoReader.open(path!);
    await video.get(0);
  }
  {
    using video = await VideoReader.open(harmless);
    expect(Buffer.compare(await video.getBatch(all(video)), wanted)).toBe(0);
  }
  expect(reused() - before).toBeGreaterThanOrEqual(1);
});
