import { copyFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fixturePath } from '../support/fixture';
import { buildPreload, runPreloaded } from '../support/preloaded';
import { makeTinyRun, type TinyRun } from '../support/tiny_run';
import { temporaryFolder } from '../support/video';

// On Linux a library can stand before the C library and let reads stall, as a file server that is gone does.
const onLinux = process.platform === 'linux' ? describe : describe.skip;

onLinux('a read that does not return', () => {
  const folder = temporaryFolder();
  let library: string;
  let tiny: TinyRun;
  beforeAll(async () => {
    library = buildPreload(folder, 'stalled_reads.c');
    tiny = await makeTinyRun(1, 1);
    copyFileSync(fixturePath('video/h264_b_frames.mp4'), join(folder, 'stalled.mp4'));
    writeFileSync(join(folder, 'list.txt'), `${join(folder, 'stalled.mp4')} 0\n`.repeat(2));
  });
  afterAll(() => tiny.remove());

  const env = () => ({ STALL_UNTIL: join(folder, 'never') });
  // What a call ends with, and whether within 20 s of its own: a busy machine may take as long for what comes before.
  const told = `const told = (promise) => {
      const started = performance.now();
      return promise.then(() => 'done', (error) => error.code + ' ' + (performance.now() - started < 20000));
    };`;

  test('ends training, evaluation and pictures of a sample after DATA.DEADLINE seconds', () => {
    const lines = runPreloaded(
      library,
      `${told}
      const [, cfg, list] = process.argv;
      const { trainLoader, testLoader, datasetOf } = load('engine/setup');
      const opts = ['DATA.TRAIN_FILE', list, 'DATA.VAL_FILE', list, 'DATA.DEADLINE', '1'];
      const config = load('config').loadConfig({ cfg, opts });
      const first = async (loader) => { for await (const _ of loader.epoch(0)) break; };
      const dataset = await datasetOf(config, 'TRAIN_FILE');
      console.log(await told(first(trainLoader(config, dataset, 0))));
      console.log(await told(first(testLoader(config, dataset, { clips: 1, crops: 1 }, 0))));
      const { showSample } = load('engine/show_sample');
      console.log(await told(showSample(config, { index: 0, epoch: 0, kind: 'train', output: 'none' })));
      process.exit(0);`,
      [tiny.cfg, join(folder, 'list.txt')],
      { env: env() },
    );
    expect(lines).toEqual(Array(3).fill('ERR_VIDEO_TIMEOUT true'));
  });

  test('ends what a model does with a video after deadlineMs', () => {
    const lines = runPreloaded(
      library,
      `${told}
      const [, cfg, clip] = process.argv;
      const config = load('config').loadConfig({ cfg });
      const task = await load('models').createTask(config, ['a', 'b', 'c']);
      console.log(await told(task.model.classify(clip, ['a', 'b', 'c'], { deadlineMs: 300 })));
      console.log(await told(task.model.embedVideo(clip, { deadlineMs: 300 })));
      process.exit(0);`,
      [tiny.cfg, join(folder, 'stalled.mp4')],
      { env: env() },
    );
    expect(lines).toEqual(['ERR_VIDEO_TIMEOUT true', 'ERR_VIDEO_TIMEOUT true']);
  });
});
