import { join } from 'node:path';
import { fixturePath } from '../support/fixture';
import { buildPreload, runPreloaded } from '../support/preloaded';
import { temporaryFolder } from '../support/video';

// On Linux a library can stand before the C library and start no threads.
const onLinux = process.platform === 'linux' ? describe : describe.skip;

onLinux('a system that starts no more threads', () => {
  const folder = temporaryFolder();
  let library: string;
  beforeAll(() => {
    library = buildPreload(folder, 'failing_threads.c');
  });

  function node(script: string): string[] {
    const prelude = `const [, clip, none] = process.argv;
      const { rmSync, writeFileSync } = require('node:fs');
      const addon = load('native/video').videoAddon();
      const told = (promise) => promise.then(() => 'done', (error) => error.code + ' ' + error.message);
      const open = () => addon.openVideo({ path: clip });
      const read = (video, i) => told(addon.readFrames(video, Int32Array.of(i), new Uint8Array(68 * 48 * 3)));`;
    const none = join(folder, 'none');
    const words = [fixturePath('video/h264_b_frames.mp4'), none];
    return runPreloaded(library, prelude + script, words, { env: { FAIL_WHILE: none } });
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

  test('leaves the work to the threads that there are', () => {
    const lines = node(`
      addon.setWorkerCount(4);
      const video = await open();
      writeFileSync(none, '');
      const others = await Promise.all([open(), open(), open()]);
      console.log((await Promise.all([video, ...others].map(read))).join(' '));`);
    expect(lines).toEqual(['done done done done']);
  });
});
