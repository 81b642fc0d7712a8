import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { writeTorch } from '../../lib/io';
import { createTask, rawStateDict } from '../../lib/models';
import { buildCli, type CliResult, runCli } from '../support/built_cli';
import { fixturePath } from '../support/fixture';
import { makeTinyRun, type TinyRun } from '../support/tiny_run';

let tiny: TinyRun;
jest.setTimeout(240_000);

beforeAll(async () => {
  buildCli();
  tiny = await makeTinyRun(1, 1);
  const task = await createTask(tiny.config(), tiny.names);
  await writeTorch(join(tiny.root, 'tiny.pth'), { model: rawStateDict(task.model), config: tiny.config() });
  task.dispose();
  // The length of the first unit of frame 16, to which the frames of the views refer.
  const sound = readFileSync(fixturePath('video/h264_b_frames.mp4'));
  writeFileSync(join(tiny.root, 'damaged.mp4'), sound.fill(0xff, 1662, 1666));
  writeFileSync(
    join(tiny.root, 'other.cjs'),
    "setTimeout(() => process.emitWarning('of another', { code: 'OTHER' }), 10);\n",
  );
});
afterAll(() => tiny.remove());

function classify(env: Record<string, string>): Promise<CliResult> {
  const words = ['classify', 'damaged.mp4', '--checkpoint', 'tiny.pth', '--labels', 'a,b'];
  return runCli(words, { cwd: tiny.root, env });
}

test('a warning of this package is one line', async () => {
  const { status, stderr } = await classify({});
  expect(stderr).toMatch(/^warning VIDEO_DAMAGED: damaged\.mp4: frame 16 of 40 is damaged; .*\n$/);
  expect(status).toBe(0);
});

test('warnings of others are left to Node', async () => {
  const { stderr } = await classify({ NODE_OPTIONS: '--require ./other.cjs' });
  expect(stderr).toMatch(/^\(node:\d+\) \[OTHER\] Warning: of another$/m);
  expect(stderr).toMatch(/^warning VIDEO_DAMAGED: /m);
});

test('there are none where Node is told so', async () => {
  expect((await classify({ NODE_NO_WARNINGS: '1' })).stderr).toBe('');
});
