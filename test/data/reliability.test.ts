import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { buildCli } from '../support/built_cli';

const root = join(__dirname, '../..');

/** Runs a script of bench/ and returns the JSON object that it prints, or throws with what it said. */
function run(...words: string[]): Promise<Record<string, unknown>> {
  return new Promise((resolve, reject) => {
    execFile(process.execPath, words, { cwd: root }, (error, stdout, stderr) => {
      if (error) return reject(new Error(`${words.join(' ')}: ${error.message}\n${stderr}`));
      resolve(JSON.parse(stdout.slice(stdout.indexOf('{'), stdout.lastIndexOf('}') + 1)));
    });
  });
}

test('soak, short: open, read, close and a sleeping consumer leave the memory as it was', async () => {
  buildCli(); // the script runs dist/
  const result = await run('--expose-gc', 'bench/soak.mjs', '--cycles', '150');
  expect(result).toMatchObject({ cycles: 150, sleeping: { loaderMb: expect.any(Number) } });
  expect(result.growthMb).toBeLessThan(5);
});

test('fuzz, short: damaged clips give frames or errors under AddressSanitizer', async () => {
  const result = await run('bench/fuzz.mjs', '--mutations', '60', '--seed', '7');
  expect(result).toMatchObject({ mutations: 60, crashes: 0, hangs: 0 });
  const outcomes = result.outcomes as Record<string, number>;
  expect(Object.values(outcomes).reduce((sum, count) => sum + count)).toBe(60);
  expect(Object.keys(outcomes)).toEqual(expect.arrayContaining(['frames', 'ERR_VIDEO_FORMAT']));
}, 240_000);
