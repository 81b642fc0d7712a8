import { copyFileSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { constants } from 'node:os';
import { join } from 'node:path';
import { Philox } from '../../lib/base/philox';
import { videoAddon } from '../../lib/native/video';
import { fixturePath } from '../support/fixture';
import { buildPreload, runPreloaded } from '../support/preloaded';
import { temporaryFolder } from '../support/video';

// On Linux a library can stand before the C library and let reads fail, as a broken disk does.
const onLinux = process.platform === 'linux' ? describe : describe.skip;

onLinux('a failure of the machine', () => {
  const folder = temporaryFolder();
  let library: string;
  const whileThere = join(folder, 'broken');
  const clip = fixturePath('video/h264_b_frames.mp4');
  const list = join(folder, 'list.txt');
  const { EIO, ENODEV, ENOMEM, EINVAL } = constants.errno;

  beforeAll(async () => {
    library = buildPreload(folder, 'failing_reads.c');
    copyFileSync(clip, join(folder, 'good.mp4'));
    const random = new Philox(3, 0);
    // More than is read ahead.
    const noise = new Uint8Array(30 * 96 * 96 * 3).map(() => random.integer(256));
    const failing = join(folder, 'failing.mp4');
    await videoAddon().encodeVideo(failing, { width: 96, height: 96, fps: 30, quality: 1 }, noise);
    expect(statSync(failing).size).toBeGreaterThan(2 ** 17);
    writeFileSync(list, 'good.mp4 0\nfailing.mp4 1\ngood.mp4 0\n');
  });

  /** Runs a script in a fresh node: `told` gives the code and message of a failure, `evaluate` loads the list. */
  function node(script: string, { error = EIO, from = 0, limit = '' } = {}): string[] {
    const prelude = `const [, folder, list, broken] = process.argv;
      const { openSync, rmSync, writeFileSync } = require('node:fs');
      const { join } = require('node:path');
      const addon = load('native/video').videoAddon();
      const failing = { path: join(folder, 'failing.mp4') };
      const told = (promise) => promise.then(() => 'done', (error) => error.code + ' ' + error.message);
      const middle = (video) => addon.readFrames(video, Int32Array.of(20), new Uint8Array(96 * 96 * 3));
      const dataset = await load('data/video_dataset').VideoDataset.fromList(list, { root: folder });
      const planner = load('data/plan').testPlanner({ numFrames: 4, inputSize: 32, numClips: 1, numCrops: 1 });
      const { VideoLoader } = load('data/loader');
      const { verifyDataset } = load('data/verify');
      const evaluate = async (onError) => {
        const loader = new VideoLoader({ dataset, planner, batchSize: 3, seed: 0, training: false, onError });
        for await (const batch of loader.epoch(0)) return batch.failed.map(({ code, reason }) => code + ' ' + reason);
      };
      const verify = (subject) => verifyDataset(dataset, { journal: join(folder, 'journal'), subject });`;
    writeFileSync(whileThere, '');
    const env = { FAIL_WHILE: whileThere, FAIL_WITH: String(error), FAIL_FROM: String(from) };
    const words = [folder, list, whileThere];
    return runPreloaded(library, prelude + script, words, { env, limit: limit || undefined });
  }

  const badSpot = /^ERR_FILE_IO .*failing\.mp4: Input\/output error; a bad spot on the disk .* fails/;
  const diskGone = /^ERR_SYSTEM .*failing\.mp4: No such device; the disk or server .* fails/;

  test.each([0, 2 ** 16])(
    'a bad spot behind %d bytes spoils the video that lies on it, and no other',
    (from) => {
      const lines = node(
        `console.log(await told(addon.openVideo(failing).then(middle)));
      console.log(await told(evaluate('fail')));
      for (const rule of ['skip', 'substitute']) console.log((await evaluate(rule)).join());
      const { videos, bad } = await verify('spot');
      console.log(videos, bad.length, bad[0].code + ' ' + bad[0].reason);`,
        { from },
      );
      expect(lines).toEqual([
        ...Array(4).fill(expect.stringMatching(badSpot)),
        expect.stringMatching(`^2 1 ${badSpot.source.slice(1)}`),
      ]);
    },
  );

  test.each([0, 2 ** 16])(
    'a disk that is gone behind %d bytes ends the work, and no video is to blame',
    (from) => {
      const lines = node(
        `console.log(await told(addon.openVideo(failing).then(middle)));
      for (const rule of ['fail', 'skip', 'substitute']) console.log(await told(evaluate(rule)));
      console.log(await told(verify('gone')));`,
        { from, error: ENODEV },
      );
      expect(lines).toEqual(Array(5).fill(expect.stringMatching(diskGone)));
    },
  );

  test('a check of all videos ends at once, and notes nothing of those that wait', () => {
    for (let i = 0; i < 40; i++) copyFileSync(clip, join(folder, `waits_${i}.mp4`));
    const waiting = Array.from({ length: 40 }, (_, i) => `waits_${i}.mp4 0\n`);
    writeFileSync(join(folder, 'long.txt'), `failing.mp4 0\n${waiting.join('')}`);
    const lines = node(
      `const whole = await load('data/video_dataset').VideoDataset.fromList(join(folder, 'long.txt'), { root: folder });
      let checked = 0;
      const options = { journal: join(folder, 'journal'), subject: 'long', onProgress: (done) => { checked = done; } };
      console.log(await told(verifyDataset(whole, options)));
      console.log(checked < 40);`,
      { error: ENODEV },
    );
    expect(lines).toEqual([expect.stringMatching(diskGone), 'true']);
  });

  test('a disk that refuses every read ends all work, which goes on when it is back', () => {
    for (let i = 0; i < 70; i++) copyFileSync(clip, join(folder, `failing_${i}.mp4`));
    const many = Array.from({ length: 70 }, (_, i) => `failing_${i}.mp4 0\n`);
    writeFileSync(join(folder, 'many.txt'), `good.mp4 0\n${many.join('')}`);
    const lines = node(
      `const { cacheDataset } = load('data/short_gop_cache');
      const all = await load('data/video_dataset').VideoDataset.fromList(join(folder, 'many.txt'), { root: folder });
      const check = () => verifyDataset(all, { journal: join(folder, 'journal'), subject: 'many' });
      const settings = { shortSide: 32, gop: 4, quality: 8 };
      const cache = () => cacheDataset(all, { output: join(folder, 'copies'), listName: 'many.txt', settings });
      const loader = new VideoLoader({ dataset: all, planner, batchSize: 2, seed: 0, training: false, onError: 'skip' });
      const loadAll = async () => { for await (const batch of loader.epoch(0)) batch.release(); };
      for (const work of [check, cache, loadAll]) console.log((await told(work())).split('\\n')[0]);
      rmSync(broken);
      console.log((await check()).bad.length, (await cache()).entries.length);`,
    );
    const gone = expect.stringMatching(
      /^ERR_SYSTEM 64 videos in a row could not be read, .*failing_\d+\.mp4: Input\/output error/,
    );
    expect(lines).toEqual([
      gone,
      gone,
      expect.stringMatching(/^ERR_BAD_VIDEOS 3\d of 3\d videos could not be loaded/),
      '0 71',
    ]);
  });

  test('bad spots on more videos than that end nothing while others are read', () => {
    let text = '';
    for (let i = 0; i < 80; i++) {
      copyFileSync(clip, join(folder, `failing_spot_${i}.mp4`));
      text += `failing_spot_${i}.mp4 0\n`;
      if (i % 20 !== 10) continue;
      copyFileSync(clip, join(folder, `sound_${i}.mp4`));
      text += `sound_${i}.mp4 0\n`;
    }
    writeFileSync(join(folder, 'spots.txt'), text);
    const lines = node(
      `const { cacheDataset } = load('data/short_gop_cache');
      const all = await load('data/video_dataset').VideoDataset.fromList(join(folder, 'spots.txt'), { root: folder });
      const { videos, bad } = await verifyDataset(all, { journal: join(folder, 'journal'), subject: 'spots' });
      console.log(videos, bad.length);
      const settings = { shortSide: 32, gop: 4, quality: 8 };
      const { entries, failed } = await cacheDataset(all, { output: join(folder, 'spots'), listName: 'spots.txt', settings });
      console.log(entries.length, failed.length);`,
    );
    expect(lines).toEqual(['84 80', '4 80']);
  });

  test('a video can be read on when the disk is back', () => {
    const lines = node(
      `rmSync(broken);
      const video = await addon.openVideo(failing);
      writeFileSync(broken, '');
      console.log(await told(middle(video)));
      rmSync(broken);
      console.log(await told(middle(video)));`,
      { from: 2 ** 16 },
    );
    expect(lines).toEqual([expect.stringMatching(badSpot), 'done']);
  });

  test('no memory for a read is no fault of the video either; a file that cannot be read is', () => {
    const script = `console.log(await told(addon.openVideo(failing)));
      console.log(await told(evaluate('skip').then((failed) => { throw { code: 'skipped', message: failed } })));`;
    const noMemory = expect.stringMatching(
      /^ERR_OUT_OF_MEMORY .*failing\.mp4: Cannot allocate memory; open fewer/,
    );
    expect(node(script, { error: ENOMEM })).toEqual([noMemory, noMemory]);
    expect(node(script, { error: EINVAL })).toEqual([
      expect.stringMatching(/^ERR_FILE_READ .*failing\.mp4: Invalid argument/),
      expect.stringMatching(/^skipped ERR_FILE_READ .*failing\.mp4: Invalid argument/),
    ]);
  });

  test('too many open files end every kind of work, and the message says what to do', () => {
    const lines = node(
      `rmSync(broken);
      try { for (;;) openSync('/dev/null'); } catch {}
      for (const rule of ['fail', 'skip', 'substitute']) console.log(await told(evaluate(rule)));`,
      { limit: 'ulimit -n 64' },
    );
    expect(lines).toEqual(
      Array(3).fill(
        expect.stringMatching(/^ERR_SYSTEM .*\.mp4: Too many open files; .*raise its limit \(ulimit -n\)/),
      ),
    );
  });

  test('a transport stream too, which FFmpeg remembers failures of', () => {
    const stream = readFileSync(fixturePath('video/h264_transport.m2t'));
    // Packets that carry nothing, so that it is more than is read ahead.
    const nothing = Buffer.alloc(10 * 188, 0xff);
    for (let at = 0; at < nothing.length; at += 188) nothing.set([0x47, 0x1f, 0xff, 0x10], at);
    const pieces: Buffer[] = [];
    for (let at = 0; at < stream.length; at += 188) pieces.push(stream.subarray(at, at + 188), nothing);
    const path = join(folder, 'failing.m2t');
    writeFileSync(path, Buffer.concat(pieces));
    const lines = node(`
      rmSync(broken);
      const { VideoReader } = load('data/video_reader');
      const video = await VideoReader.open(${JSON.stringify(path)});
      const read = async () => Buffer.from(await video.getBatch([5, 39, 2]));
      const before = await read();
      for (const frame of [20, 0, 20]) {
        writeFileSync(broken, '');
        console.log(await told(video.get(frame)));
        rmSync(broken);
        console.log(await read().then((frames) => before.equals(frames), String));
      }`);
    expect(lines).toEqual(
      [0, 1, 2].flatMap(() => [expect.stringMatching(/^ERR_FILE_IO .*failing\.m2t/), 'true']),
    );
  });
});
