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
  function node(script: string, readMs = 0) {
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
        env: { ...process.env, LD_PRELOAD: library, STALL_UNTIL: answers, READ_MS: `${readMs}` },
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

  // More calls on a slow video than there are threads; the other one has to be read before the slow one goes on.
  const crowd = `
    addon.setWorkerCount(2);
    const video = await addon.openVideo({ path: long });
    await crowded();
    const slow = (deadline, cancel) =>
      addon.readFrames(video, Int32Array.of(20), new Uint8Array(96 * 96 * 3), deadline, cancel);
    const order = [];
    const calls = Array.from({ length: 6 }, (_, i) => slow().then(() => order.push(i)));
    const other = addon.openVideo({ path: clip }).then(eight).then(() => order.push('other'));`;

  test('makes calls on the same video wait without a thread, in their order; other videos are read meanwhile', () => {
    const { lines } = node(`
      answer();
      const crowded = async () => require('node:fs').rmSync(answers);
      ${crowd}
      console.log(addon.counters().queued >= 5, await Promise.race([other.then(() => 'read'), sleep(5000)]));
      answer();
      await Promise.all(calls);
      console.log(order.join(' '), addon.counters().running, addon.counters().queued);`);
    expect(lines).toEqual(['true read', 'other 0 1 2 3 4 5 0 0']);
  });

  test('makes them wait without a thread in worker threads too', () => {
    const { lines } = node(`
      answer();
      const { Worker } = require('node:worker_threads');
      const { once } = require('node:events');
      const script = ${JSON.stringify(`const { workerData, parentPort } = require('node:worker_threads');
        const [addonPath, clip, long] = workerData;
        const addon = require(addonPath);
        const crowded = () => new Promise((resolve) => {
          parentPort.once('message', resolve);
          parentPort.postMessage('open');
        });
        const eight = (video) => addon.readFrames(video, Int32Array.of(20), new Uint8Array(68 * 48 * 3));
        (async () => { ${crowd}
          await other;
          parentPort.postMessage('read');
          await Promise.all(calls);
          parentPort.postMessage(order.join(' '));
        })();`)};
      const workers = [1, 2].map(() => new Worker(script, { eval: true, workerData: [addonPath, clip, long] }));
      const all = (act) => Promise.all(workers.map(act));
      const next = async (worker) => (await once(worker, 'message'))[0];
      console.log((await all(next)).join(', '));
      require('node:fs').rmSync(answers);
      console.log((await Promise.race([all((w) => { w.postMessage(''); return next(w); }), sleep(5000, ['starved'])])).join(', '));
      answer();
      console.log((await all(next)).join(', '));`);
    expect(lines).toEqual(['open, open', 'read, read', 'other 0 1 2 3 4 5, other 0 1 2 3 4 5']);
  });

  test('leaves calls that wait behind it free to end: aborted, out of time, closed', () => {
    const { lines } = node(`
      answer();
      const crowded = async () => require('node:fs').rmSync(answers);
      ${crowd}
      calls.forEach((call) => call.catch(() => {}));
      const started = performance.now();
      const [token, before] = [addon.createCancelToken(), addon.createCancelToken()];
      addon.cancel(before);
      const ended = [slow(60000, token), slow(200), slow(60000, before)].map(told);
      addon.cancel(token);
      console.log(await ended[0]);
      console.log(await ended[1]);
      console.log(await ended[2]);
      addon.closeVideo(video);
      console.log(await told(calls[5]));
      console.log(performance.now() - started < 4000, addon.counters().queued);
      answer();
      console.log(await told(calls[0]));
      console.log(addon.counters().openVideos - 1);`); // the other one
    expect(lines).toEqual([
      expect.stringMatching(/^ERR_ABORTED .*stalled_long\.mp4: reading was aborted/),
      expect.stringMatching(/^ERR_VIDEO_TIMEOUT .*stalled_long\.mp4: not done within 200 ms/),
      expect.stringMatching(/^ERR_ABORTED /),
      expect.stringMatching(/^ERR_DISPOSED .*stalled_long\.mp4: the video was closed/),
      'true 0',
      expect.stringMatching(/^ERR_DISPOSED /),
      '0',
    ]);
  });

  test('hits the deadline given at opening, where the call has none of its own', () => {
    const { lines } = node(`
      answer();
      const video = await addon.openVideo({ path: long }, { deadlineMs: 1000 });
      require('node:fs').rmSync(answers);
      const read = (deadline) => told(addon.readFrames(video, Int32Array.of(20), new Uint8Array(96 * 96 * 3), deadline));
      const started = performance.now();
      const calls = [read(), read(30000)];
      console.log(await calls[0]);
      console.log(await calls[1]);
      console.log(performance.now() - started < 10000);`);
    expect(lines).toEqual([
      expect.stringMatching(/^ERR_VIDEO_TIMEOUT .*a read has not returned/),
      expect.stringMatching(/^ERR_VIDEO_TIMEOUT .*a read of an earlier call/),
      'true',
    ]);
  });

  test('the deadline of a call counts from the call on, once; the one given at opening from its turn on', () => {
    const { lines } = node(
      `
      answer();
      const video = await addon.openVideo({ path: long }, { deadlineMs: 20000 });
      const read = (frame, deadline) => addon.readFrames(video, Int32Array.of(frame), new Uint8Array(96 * 96 * 3), deadline);
      await read(0);
      let started = performance.now();
      await read(20);
      await read(0);
      const both = performance.now() - started; // two calls, of which neither takes more than three quarters of this
      started = performance.now();
      const calls = [read(20), told(read(0, Math.round(0.75 * both)))];
      await calls[0];
      const first = performance.now() - started;
      console.log(await calls[1]);
      console.log(first < 0.75 * both);
      addon.closeVideo(video);
      const brief = await addon.openVideo({ path: long }, { deadlineMs: 3000 });
      const many = Array.from({ length: 18 }, (_, i) =>
        told(addon.readFrames(brief, Int32Array.of(i % 2 ? 0 : 20), new Uint8Array(96 * 96 * 3))));
      started = performance.now();
      console.log((await Promise.all(many)).join(' '), performance.now() - started > 3000);`,
      200,
    );
    expect(lines).toEqual([
      expect.stringMatching(
        /^ERR_VIDEO_TIMEOUT .*stalled_long\.mp4: (not done within|a read has not returned)/,
      ),
      'true',
      `${Array(18).fill('done').join(' ')} true`,
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
