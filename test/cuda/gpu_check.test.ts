import { execFileSync, spawn, spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { packageRoot } from '../../lib/native/load';

// scripts/gpu-check.sh with the programs of the emulated device, and what it makes of programs that fail, hang or are ended
// from outside: a card is there for minutes, so what was found must be kept and what is left must still run. Only
// nvidia-smi, and the programs that are to fail, are scripts of this test.
const root = packageRoot();
const built = join(root, 'build/emulation');
const folder = mkdtempSync(join(tmpdir(), 'gpu-check-'));
const programs = join(folder, 'programs');
const calls = join(folder, 'calls');
afterAll(() => rmSync(folder, { recursive: true }));

const script = (path: string, text: string) => writeFileSync(path, `#!/bin/sh\n${text}\n`, { mode: 0o755 });
mkdirSync(join(folder, 'bin'));
mkdirSync(programs);
script(
  join(folder, 'bin/nvidia-smi'),
  'case "$*" in *=name*) echo "NVIDIA H200";; *compute_cap*) echo 9.0;; *) echo 580;; esac',
);
script(join(programs, 'cuda_bench'), `exec '${built}/cuda_bench' "$@"`);
const env = { ...process.env, PATH: `${join(folder, 'bin')}:${process.env.PATH}` };

const command = (phases: string, out: string, from = programs) => [
  ...['scripts/gpu-check.sh', '--phases', phases, '--out', join(folder, out), '--programs', from],
  ...['--scale', 'tiny', '--archive', join(folder, `${out}.tar.gz`), '--python', 'no-python-here'],
];
function check(phases: string, out: string, from = programs) {
  const { status, stdout } = spawnSync('bash', command(phases, out, from), {
    cwd: root,
    env,
    encoding: 'utf8',
    timeout: 240_000,
  });
  return { status, stdout, last: stdout.trim().split('\n').at(-1) };
}
function report(out: string) {
  const [file] = readdirSync(join(folder, out)).filter((name) => /h200-[\d-]+\.json$/.test(name));
  const { phases } = JSON.parse(readFileSync(join(folder, out, file!), 'utf8'));
  return phases as { phase: string; status: number | null; why?: string }[];
}
const statusOf = (out: string) => Object.fromEntries(report(out).map(({ phase, status }) => [phase, status]));
const archived = (out: string) =>
  execFileSync('tar', ['-tzf', join(folder, `${out}.tar.gz`)], { encoding: 'utf8' });

test('primitives and kernels pass, and a second run of the day adds to the report', () => {
  expect(check('facts primitives', 'fine', built)).toMatchObject({
    status: 0,
    last: '9 passed, 0 failed, 0 left out',
  });
  expect(check('bench', 'fine')).toMatchObject({
    status: 0,
    last: expect.stringMatching(/^[67] passed, 0 failed/),
  });
  expect(statusOf('fine')).toMatchObject({ facts: 0, 'primitive stmatrix': 0, 'bench attention second': 0 });
  const [kernels] = readdirSync(join(folder, 'fine')).filter((name) => name.endsWith('-kernels.jsonl'));
  const rows = readFileSync(join(folder, 'fine', kernels!), 'utf8')
    .trim()
    .split('\n');
  expect(rows.filter((row) => JSON.parse(row).device)).toHaveLength(1);
  for (const suite of ['memory', 'square', 'self', 'cross'])
    expect(rows.some((row) => JSON.parse(row).suite === suite)).toBe(true);
  for (const kept of [kernels!, 'logs/bench memory first.log']) expect(archived('fine')).toContain(kept);
});

test('a test that hangs is named, and its limit is its own', () => {
  const { status, stderr } = spawnSync(join(built, 'cuda_test'), ['-tc=attention by a warpgroup: lengths*'], {
    encoding: 'utf8',
    env: { ...process.env, CUDA_TEST_SECONDS: '1' },
  });
  expect({ status, stderr }).toEqual({
    status: 124,
    stderr: expect.stringMatching(
      /^cuda_test: (attention by a warpgroup: lengths.*)\ncuda_test: '\1' has not ended after 1 s\n$/,
    ),
  });
});

test('a process that is killed has named its test case, and kept what it said', () => {
  const { signal, stdout, stderr } = spawnSync(join(built, 'cuda_test'), ['-tc=attention by a warpgroup*'], {
    encoding: 'utf8',
    timeout: 1500,
    killSignal: 'SIGKILL',
  });
  expect(signal).toBe('SIGKILL');
  expect(stdout).toMatch(/^\[doctest\] /);
  expect(stderr).toMatch(/^cuda_test: attention by a warpgroup: /);
});

test('where tests fail each file runs for itself; all files of tests are among them', () => {
  script(
    join(programs, 'cuda_test'),
    `echo "$*" >>'${calls}'; case "$*" in *-sf=*layer_norm*) exit 124;; *-sf=*) exit 0;; *) exit 9;; esac`,
  );
  expect(check('test', 'by file')).toMatchObject({ status: 1 });
  const ends = statusOf('by file');
  expect(ends).toMatchObject({ test: 9, 'test layer_norm': 124, 'test linear': 0, 'test runtime': 0 });
  // Files of tests for the emulated device alone have their first lines behind its macro.
  const files = readdirSync(join(root, 'test/cuda'))
    .filter((name) => /_test\.c[cu]$/.test(name))
    .filter(
      (name) =>
        !/^(\/\/.*\n)*#ifdef CUDA_EMULATION\n/.test(readFileSync(join(root, 'test/cuda', name), 'utf8')),
    );
  const patterns = Object.keys(ends).flatMap((phase) => phase.match(/(?<=^test )\w+/) ?? []);
  expect(files.filter((name) => !patterns.some((pattern) => name.includes(pattern)))).toEqual([]);
});

test('where a primitive is wrong, the rest runs as on capability 8.0', () => {
  script(
    join(programs, 'cuda_test'),
    `echo "$NATIVE_CUDA_CAPABILITY $*" >>'${calls}'; case "$*" in *"-tc=wgmma: A in"*) exit 1;; esac`,
  );
  const { stdout, last } = check('primitives test sweep', 'wrong');
  expect(stdout).toContain('a primitive of sm_90a is wrong');
  expect(statusOf('wrong')).toMatchObject({ 'primitive wgmma A in': 1, 'primitive clusters': 0, test: 0 });
  expect(Object.keys(statusOf('wrong'))).not.toContain('sweep');
  expect(last).toMatch(/ 1 failed, /);
  expect(readFileSync(calls, 'utf8')).toContain('\n80 \n');
});

test('a run that is ended keeps what it found, and ends what it was running', async () => {
  script(join(programs, 'cuda_test'), `echo it began; exec sleep 9731`);
  const child = spawn('bash', command('facts test', 'ended'), { cwd: root, env, stdio: 'ignore' });
  const log = join(root, 'build/gpu/logs/test.log');
  const sleeping = () => spawnSync('pgrep', ['-f', '^sleep 9731$'], { encoding: 'utf8' }).stdout.trim();
  while (!sleeping()) await new Promise((resolve) => setTimeout(resolve, 100));
  child.kill('SIGTERM');
  await new Promise((resolve) => child.on('exit', resolve));
  expect(report('ended')).toMatchObject([
    { phase: 'facts', status: 0 },
    { phase: 'test', status: 143, why: 'ended from outside' },
  ]);
  expect(readFileSync(log, 'utf8')).toBe('it began\n');
  expect(archived('ended')).toContain('logs/test.log');
  await new Promise((resolve) => setTimeout(resolve, 500));
  expect(sleeping()).toBe('');
}, 60_000);
