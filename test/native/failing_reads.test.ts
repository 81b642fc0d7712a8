import { copyFileSync, statSync, writeFileSync } from 'node:fs';
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
  const { EIO, ENOMEM, EINVAL } = constants.errno;

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
      const verify = () => verifyDataset(dataset, { journal: join(folder, 'journal'), subject: 'list' });`;
    writeFileSync(whileThere, '');
    const env = { FAIL_WHILE: whileThere, FAIL_WITH: String(error), FAIL_FROM: String(from) };
    const words = [folder, list, whileThere];
    return runPreloaded(library, prelude + script, words, { env, limit: limit || undefined });
  }

  const diskFails = /^ERR_SYSTEM .*failing\.mp4: Input\/output error; the disk or server .* fails/;

  test.each([0, 2 ** 16])('a disk that fails behind %d bytes is named, and no video is to blame', (from) => {
    const lines = node(
      `console.log(await told(addon.openVideo(failing).then(middle)));
      for (const rule of ['fail', 'skip', 'substitute']) console.log(await told(evaluate(rule)));
      console.log(await told(verify()));`,
      { from },
    );
    expect(lines).toEqual(Array(5).fill(expect.stringMatching(diskFails)));
  });

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
    );
    expect(lines).toEqual([expect.stringMatching(diskFails), 'true']);
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
    expect(lines).toEqual([expect.stringMatching(diskFails), 'done']);
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
});
