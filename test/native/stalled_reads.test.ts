import { execFileSync, spawnSync } from 'node:child_process';
import { copyFileSync, statSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { Philox } from '../../lib/base/philox';
import { videoAddon } from '../../lib/native/video';
import { fixturePath } from '../support/fixture';
import { temporaryFolder } from '../support/video';

// On Linux a library can stand before the C library and let reads stall, as a file server that is gone does.
const onLinux = process.platform === 'linux' ? describe : describe.skip;

onLinux('a read that does not return', () => {
  const folder = temporaryFolder();
  const library = join(folder, 'stalled_reads.so');
  const addonPath = resolve(__dirname, '../../bindings/video/build/Release/video.node');
  const clip = fixturePath('video/h264_b_frames.mp4');
  const stalled = join(folder, 'stalled.mp4');
  const long = join(folder, 'stalled_long.mp4');

  beforeAll(async () => {
    execFileSync('cc', ['-shared', '-fPIC', '-o', library, join(__dirname, 'stalled_reads.c'), '-ldl']);
    copyFileSync(clip, stalled);
    const random = new Philox(3, 0);
    // More than is read ahead.
    const noise = new Uint8Array(30 * 96 * 96 * 3).map(() => random.integer(256));
    await videoAddon().encodeVideo(long, { width: 96, height: 96, fps: 30, quality: 1 }, noise);
    expect(statSync(long).size).toBeGreaterThan(2 ** 17);
  });

  /** Runs a script in a fresh node; `answer()` in it lets the reads return. */
  function node(script: string) {
    const prelude = `const [, addonPath, clip, stalled, long, answers] = process.argv;
      const addon = require(addonPath);
      const answer = () => require('node:fs').writeFileSync(answers, '');
      const sleep = require('node:timers/promises').setTimeout;
      const told = (promise) => promise.then(() => 'done', (error) => error.code + ' ' + error.message);
      const eight = (video) => addon.readFrames(video, Int32Array.of(20), new Uint8Array(68 * 48 * 3));`;
    const answers = join(folder, `answers_${Math.random()}`);
    const started = performance.now();
    const result = spawnSync(
      process.execPath,
      ['-e', `${prelude} (async () => { ${script} })();`, addonPath, clip, stalled, long, answers],
      {
        encoding: 'utf8',
        env: { ...process.env, LD_PRELOAD: library, STALL_UNTIL: answers },
        timeout: 40000,
      },
    );
    const { status, signal, stderr } = result;
    expect({ status, signal, stderr }).toEqual({ status: 0, signal: null, stderr: '' });
    return { lines: result.stdout.trim().split('\n'), seconds: (performance.now() - started) / 1000 };
  }

  test('hits its deadline and is named, others go on, and the end of the process does not wait for it', () => {
    const { lines, seconds } = node(`
      addon.setWorkerCount(1);
      const stuck = told(addon.openVideo({ path: stalled }, { deadlineMs: 300 }));
      const behind = addon.openVideo({ path: clip }).then(eight).then(() => 'read');
      console.log(await stuck);
      console.log(await behind);
      console.log(addon.counters().running, addon.counters().queued);`);
    expect(lines[0]).toMatch(/^ERR_VIDEO_TIMEOUT .*stalled\.mp4: a read has not returned/);
    expect(lines.slice(1)).toEqual(['read', '0 0']);
    expect(seconds).toBeLessThan(20);
  });

  test('returns after all: nothing is left of it, and the number of workers stays', () => {
    const { lines } = node(`
      addon.setWorkerCount(2);
      console.log(await told(addon.openVideo({ path: stalled }, { deadlineMs: 200 })));
      answer();
      await sleep(300);
      const video = await addon.openVideo({ path: stalled });
      console.log(addon.videoInfo(video).frameCount, addon.counters().openVideos);
      await Promise.all(Array.from({ length: 20 }, () => eight(video)));
      addon.closeVideo(video);
      console.log(addon.counters().openVideos);`);
    expect(lines).toEqual([expect.stringMatching(/^ERR_VIDEO_TIMEOUT/), '40 1', '0']);
  });

  test('in the middle of a video: calls that wait behind it are told, and closing is clean', () => {
    const { lines } = node(`
      answer();
      const video = await addon.openVideo({ path: long });
      require('node:fs').rmSync(answers);
      const read = () => told(addon.readFrames(video, Int32Array.of(20), new Uint8Array(96 * 96 * 3), 300));
      console.log((await Promise.all([read(), read()])).sort().join('\\n')); // either may come first
      console.log(await read());
      addon.closeVideo(video);
      answer();
      await sleep(300);
      console.log(addon.counters().openVideos);`);
    expect(lines).toEqual([
      expect.stringMatching(/^ERR_VIDEO_TIMEOUT .*stalled_long\.mp4: a read has not returned/),
      ...Array(2).fill(
        expect.stringMatching(/^ERR_VIDEO_TIMEOUT .*stalled_long\.mp4: a read of an earlier call/),
      ),
      '0',
    ]);
  });

  test('is given up when the process ends before its deadline', () => {
    const { lines, seconds } = node(`
      addon.openVideo({ path: stalled }).catch(() => {});
      await sleep(200);
      console.log('leaving');
      process.exit(0);`);
    expect(lines).toEqual(['leaving']);
    expect(seconds).toBeLessThan(20);
  });

  test('is given up when its worker thread ends', () => {
    const { lines } = node(`
      const { Worker } = require('node:worker_threads');
      const script = "const { workerData } = require('node:worker_threads');" +
        "require(workerData[0]).openVideo({ path: workerData[1] });";
      const worker = new Worker(script, { eval: true, workerData: [addonPath, stalled] });
      await sleep(400);
      await worker.terminate();
      answer();
      await sleep(300);
      console.log('terminated');`);
    expect(lines).toEqual(['terminated']);
  });
});
