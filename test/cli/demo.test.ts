// The main job from end to end, cut to two epochs: what it learns by then is far above chance, and far from done.
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { runCli } from '../support/built_cli';
import { temporaryFolder } from '../support/video';

const folder = temporaryFolder();

jest.setTimeout(600_000);

test('demo makes videos, learns from them, tests what it learnt and shows it', async () => {
  const words = ['demo', '--output', 'out', '--device', 'cpu', '--opts', 'TRAIN.EPOCHS', '2'];
  const { status, stdout } = await runCli(words, { cwd: folder });
  expect(status).toBe(0);
  const accuracy = (row: string) => {
    const [, found, chance] = new RegExp(`^${row} +([\\d.]+) % +([\\d.]+) % +\\d+$`, 'm').exec(stdout)!;
    return Number(found) / Number(chance);
  };
  expect(accuracy('one view')).toBeGreaterThan(10);
  expect(accuracy('4 clips x 3 crops')).toBeGreaterThan(10);
  expect(accuracy('zero-shot: combinations never seen')).toBeGreaterThan(3);
  expect(accuracy('ablation: one frame shown 8 times')).toBeGreaterThan(1);
  expect(accuracy('ablation: frames reversed')).toBeGreaterThan(1);

  const [, report] = /Report: (.+)$/m.exec(stdout)!;
  expect(readFileSync(join(folder, report!), 'utf8')).toContain('X-CLIP learns moving shapes from nothing');
  const [, example] = /^Try it: npx xclip-native (.+)$/m.exec(stdout)!;
  const tried = example!.split(' ');
  const classified = await runCli([...tried, '--json'], { cwd: folder });
  expect(classified.status).toBe(0);
  const [clip] = JSON.parse(classified.stdout);
  expect(clip.path).toBe(tried[1]);
  expect(clip.classes).toHaveLength(5);

  // The videos are there, so that another run need not make them.
  const again = await runCli([...words, 'DATA.VAL_FILE', 'none.txt'], { cwd: folder });
  expect(again).toMatchObject({ status: 1, stderr: expect.stringContaining('none.txt') });
  expect(again.stderr).not.toContain('Writing videos');
});

test('a misspelt key is refused before videos are made', async () => {
  const { status, stderr } = await runCli(['demo', '--output', 'none', '--opts', 'TRAIN.EPOCH', '1'], {
    cwd: folder,
  });
  expect([status, stderr]).toEqual([1, expect.stringMatching(/^error ERR_CONFIG_KEY: .*TRAIN\.EPOCHS\?\n$/)]);
  expect(existsSync(join(folder, 'none'))).toBe(false);
});
