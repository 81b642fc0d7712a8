import { copyFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { fixturePath } from '../support/fixture';
import { buildPreload, runPreloaded } from '../support/preloaded';
import { temporaryFolder } from '../support/video';

// On Linux a library can stand before the C library and start no threads.
const onLinux = process.platform === 'linux' ? describe : describe.skip;

onLinux('a system that starts no more threads', () => {
  const folder = temporaryFolder();
  const stalled = join(folder, 'stalled.mp4');
  const none = join(folder, 'none'); // while it is there, no thread starts, not even Node's own
  let libraries: string;
  beforeAll(() => {
    libraries = ['failing_threads.c', 'stalled_reads.c'].map((name) => buildPreload(folder, name)).join(':');
    copyFileSync(fixturePath('video/h264_b_frames.mp4'), stalled);
  });

  afterEach(() => rmSync(none, { force: true }));

  function node(script: string): string[] {
    const prelude = `const [, clip, stalled, none] = process.argv;
      const { rmSync, writeFileSync } = require('node:fs');
      const addon = load('native/video').videoAddon();
      const told = (promise) => promise.then(() => 'done', (error) => error.code + ' ' + error.message);
      const open = () => addon.openVideo({ path: clip });
      const read = (video, i) => told(addon.readFrames(video, Int32Array.of(i), new Uint8Array(68 * 48 * 3)));`;
    const words = [fixturePath('video/h264_b_frames.mp4'), stalled, none];
    const env = { FAIL_WHILE: none, STALL_UNTIL: join(folder, 'never') };
    return runPreloaded(libraries, prelude + script, words, { env });
  }

  test('is said where there is no thread at all, and work begins once it does', () => {
    const lines = node(`
      writeFileSync(none, '');
      console.log(await told(open()));
      console.log(await told(open()), addon.counters().running, addon.counters().queued);
      rmSync(none);
      console.log(await told(open()), addon.counters().openVideos);`);
    expect(lines).toEqual([
      expect.stringMatching(/^ERR_SYSTEM the system starts no thread .* raise its limit/),
      expect.stringMatching(/^ERR_SYSTEM the system starts no thread .* 0 0$/),
      'done 1',
    ]);
  });

  test('is said where the device has no thread yet, and operations run once it does', () => {
    const lines = node(`
      const { native } = load('native/load');
      const computed = () => {
        try {
          native().full([1], 7, 'float32', 'cpu');
          return 'done';
        } catch (error) {
          return error.code + ' ' + error.message;
        }
      };
      native(); // loaded
      writeFileSync(none, '');
      console.log(computed());
      rmSync(none);
      console.log(computed());`);
    expect(lines).toEqual([
      expect.stringMatching(/^ERR_SYSTEM the system starts no thread for the operations; raise its limit/),
      'done',
    ]);
  });

  test('leaves the work to the threads that there are', () => {
    const lines = node(`
      addon.setWorkerCount(4);
      const video = await open();
      writeFileSync(none, '');
      const others = await Promise.all([open(), open(), open()]);
      console.log((await Promise.all([video, ...others].map(read))).join(' '));`);
    expect(lines).toEqual(['done done done done']);
  });

  test('keeps what waits behind a read that does not return, until it starts one', () => {
    const lines = node(`
      addon.setWorkerCount(1);
      const stuck = told(addon.openVideo({ path: stalled }, { deadlineMs: 300 }));
      const behind = told(open());
      writeFileSync(none, '');
      console.log(await stuck);
      const soon = new Promise((resolve) => setTimeout(resolve, 1000, 'waits'));
      console.log(await Promise.race([behind, soon]), addon.counters().queued);
      rmSync(none);
      console.log(await behind);`);
    expect(lines).toEqual([expect.stringMatching(/^ERR_VIDEO_TIMEOUT/), 'waits 1', 'done']);
  });
});
