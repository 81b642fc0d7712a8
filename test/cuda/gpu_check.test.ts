import { execFileSync, spawn, spawnSync } from 'node:child_process';
import {
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { packageRoot } from '../../lib/native/load';

// scripts/gpu-check.sh with the programs of the emulated device, and what it makes of programs that fail, hang or are ended
// from outside: a card is there for minutes, so what was found must be kept and what is left must still run. Only
// nvidia-smi, the sanitizers, the profiler and the programs that are to fail are scripts of this test.
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
const path = `${join(folder, 'bin')}:${process.env.PATH}`;
const env = { ...process.env, PATH: path };

/** An environment in which these programs come first. */
function withTools(name: string, tools: Record<string, string>) {
  mkdirSync(join(folder, name));
  for (const [tool, text] of Object.entries(tools)) script(join(folder, name, tool), text);
  return { ...env, PATH: `${join(folder, name)}:${path}` };
}

const command = (phases: string, out: string, from = programs) => [
  ...['scripts/gpu-check.sh', '--phases', phases, '--out', join(folder, out), '--programs', from],
  ...['--scale', 'tiny', '--archive', join(folder, `${out}.tar.gz`), '--python', 'no-python-here'],
];
function check(
  phases: string,
  out: string,
  from = programs,
  environment: NodeJS.ProcessEnv = env,
  ...more: string[]
) {
  const { status, stdout } = spawnSync('bash', [...command(phases, out, from), ...more], {
    cwd: root,
    env: environment,
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
  for (const kept of [kernels!, 'logs/bench memory first.log', 'logs/card bench.csv'])
    expect(archived('fine')).toContain(kept);
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
    `echo "$NATIVE_CUDA_MULTIPROCESSORS $*" >>'${calls}'
     case "$*" in *-sf=*/layer_norm*) exit 124;; *-sf=*) exit 0;; *) exit 9;; esac`,
  );
  const tools = withTools('passing', { 'compute-sanitizer': '' });
  expect(check('test', 'by file', programs, tools)).toMatchObject({ status: 1 });
  const ends = statusOf('by file');
  expect(ends).toMatchObject({ test: 9, 'test layer_norm': 124, 'test linear': 0, 'test runtime': 0 });
  expect(Object.keys(ends).filter((phase) => phase.startsWith('memcheck'))).toEqual([
    'memcheck layer_norm',
    'memcheck persistent kernels',
  ]);
  // The persistent kernels once more, on as few multiprocessors as their shapes are made for.
  expect(readFileSync(calls, 'utf8')).toMatch(/^4 -sf=\*test\/cuda\/attention\*,.*\/linear\*$/m);
  // Files of tests for the emulated device alone have their first lines behind its macro.
  const files = readdirSync(join(root, 'test/cuda'))
    .filter((name) => /_test\.c[cu]$/.test(name))
    .filter(
      (name) =>
        !/^(\/\/.*\n)*#ifdef CUDA_EMULATION\n/.test(readFileSync(join(root, 'test/cuda', name), 'utf8')),
    );
  const patterns = Object.keys(ends).flatMap((phase) => phase.match(/(?<=^test )\w+/) ?? []);
  expect(files.filter((name) => !patterns.some((pattern) => name.startsWith(pattern)))).toEqual([]);
});

test('where a primitive is wrong, the rest runs as on capability 8.0', () => {
  script(
    join(programs, 'cuda_test'),
    `echo "$NATIVE_CUDA_CAPABILITY $*" >>'${calls}'; case "$*" in *"-tc=wgmma: A in"*) exit 1;; esac`,
  );
  const tools = withTools('finding', {
    'compute-sanitizer':
      'case "$*" in *device) ;; *) echo "========= Invalid __shared__ write"; exit 9;; esac',
  });
  const { stdout, last } = check('primitives test sweep', 'wrong', programs, tools);
  expect(stdout).toContain('a primitive of sm_90a is wrong');
  expect(statusOf('wrong')).toMatchObject({ 'primitive wgmma A in': 1, 'primitive clusters': 0, test: 0 });
  expect(Object.keys(statusOf('wrong'))).not.toContain('sweep');
  // What is wrong with it is asked before that.
  for (const tool of ['memcheck', 'synccheck', 'racecheck'])
    expect(statusOf('wrong')).toMatchObject({ [`${tool} primitive wgmma A in`]: 9 });
  expect(stdout).toContain('\n========= Invalid __shared__ write\n');
  expect(last).toMatch(/ 4 failed, /);
  expect(readFileSync(calls, 'utf8')).toContain('\n80 \n');
});

test('sanitizers: what each tool runs on, and what is found before the time is over', () => {
  const sanitizer = `echo "$NATIVE_CUDA_EXACT|$NATIVE_CUDA_POISON|$NATIVE_CUDA_MULTIPROCESSORS $*" >>'${calls}'
    case "$*" in
      *racecheck*hopper*) echo '========= Error: Race reported'; echo "========= Error: process didn't end"; exit 124;;
      *synccheck*) echo "========= Error: process didn't terminate successfully"; exit 124;;
    esac`;
  writeFileSync(calls, '');
  const tools = withTools('racing', { 'compute-sanitizer': sanitizer });
  const { stdout } = check('sanitize', 'sanitized', programs, { ...tools, NATIVE_CUDA_POISON: undefined });
  expect(stdout).toContain('racecheck hopper_primitives failed with status 9');
  expect(stdout).toContain('\n========= Error: Race reported\n');
  const ends = statusOf('sanitized');
  expect(Object.keys(ends)).toHaveLength(15);
  expect(ends).toMatchObject({
    'racecheck hopper_primitives': 9,
    'synccheck hopper_primitives': 124,
    'synccheck gemm_sm90': 124, // twice at its limit: no more of this tool
    'racecheck gemm_sm90': 0,
    'memcheck hopper_primitives to gemm_sm90': 0,
    'initcheck attention': 0,
    sanitize: null,
  });
  const { why } = report('sanitized').find(({ phase }) => phase === 'sanitize')!;
  expect(why).toMatch(/^no time for synccheck of attention, synccheck of gemm_test to patch_embed, /);
  const lines = readFileSync(calls, 'utf8').split('\n');
  const called = (start: string) => lines.filter((line) => line.startsWith(start)).length;
  expect(called('1||4 --tool memcheck --error-exitcode 9 --print-limit 20 --report-api-errors no ')).toBe(4);
  expect(called('|| --tool memcheck ')).toBe(1); // the runtime's own tests
  expect(called('1|0|4 --tool initcheck ')).toBe(2);
  expect(called('||4 --tool racecheck ')).toBe(5);
});

test('a device that the sanitizers refuse is told once', () => {
  const refusing = withTools('refusing', {
    'compute-sanitizer': 'echo "========= Error: Device \\"0\\" is not supported"',
  });
  expect(check('sanitize', 'refused', programs, refusing)).toMatchObject({
    status: 0,
    last: '0 passed, 0 failed, 1 left out',
  });
  expect(report('refused')).toMatchObject([
    { phase: 'sanitize', why: '========= Error: Device 0 is not supported' },
  ]);
});

test('a profiler that sees nothing has failed, and earlier results of the day stay', () => {
  const out = join(folder, 'earlier');
  mkdirSync(out);
  for (const file of ['a-card-counters.txt', 'a-card-sweep.jsonl']) writeFileSync(join(out, file), 'earlier');
  const failing = join(folder, 'failing');
  mkdirSync(failing);
  for (const program of ['cuda_test', 'cuda_bench']) script(join(failing, program), 'exit 1');
  const blind = withTools('blind', { ncu: "echo '==WARNING== No kernels were profiled.'" });
  const { status, stdout } = check('sweep counters', 'earlier', failing, blind, '--slug', 'a-card');
  expect(status).toBe(1);
  const { phases } = JSON.parse(readFileSync(join(out, 'a-card.json'), 'utf8'));
  expect(phases.map(({ status: end }: { status: number }) => end)).toEqual([1, 1, 9, 9, 9]);
  expect(stdout).toContain('counters b16-8f-b32 fc1 forward 50432 768 3072 failed with status 9');
  for (const file of ['a-card-counters.txt', 'a-card-sweep.jsonl'])
    expect(readFileSync(join(out, file), 'utf8')).toBe('earlier');
});

test('products are measured by tickets too, before the sweep', () => {
  const echoing = join(folder, 'echoing');
  mkdirSync(echoing);
  script(join(echoing, 'cuda_bench'), `echo "{\\"shared\\":\\"$NATIVE_CUDA_SHARED\\",\\"of\\":\\"$*\\"}"`);
  script(join(echoing, 'cuda_test'), 'exit 0');
  check('sweep', 'tickets', echoing, withTools('no tools', {}), '--slug', 'a-card');
  const measured = (name: string) =>
    JSON.parse(readFileSync(join(folder, `tickets/a-card-${name}.jsonl`), 'utf8'));
  expect(measured('by-tickets')).toMatchObject({ shared: '1', of: expect.stringMatching(/matmul$/) });
  expect(measured('sweep')).toMatchObject({ shared: '', of: expect.stringMatching(/sweep$/) });
});

test('counters are kept, and of which calls they are', () => {
  const seeing = withTools('seeing', { ncu: `echo "==PROF== 1"; echo "counted: $*"` });
  check('counters', 'counted', programs, seeing, '--slug', 'a-card');
  const lines = readFileSync(join(folder, 'counted/a-card-counters.txt'), 'utf8').trim().split('\n');
  expect(lines.map((line) => /--profile (.*)$/.exec(line)?.[1])).toEqual([
    'b16-8f-b32 fc1 forward 50432 768 3072 matmul',
    'self backward 256 197 198 12 0 attention',
    'memory layer norm backward 256 197 768 0 memory',
  ]);
});

test('results have one name, whatever CUDA calls the card and whatever day it has become', () => {
  const yesterday = withTools('yesterday', { date: 'echo 2001-01-01' });
  const none = join(folder, 'none'); // models need no cuda_bench
  mkdirSync(none);
  const { last } = check('model', 'named', none, yesterday);
  expect(last).toMatch(/ 0 failed, /);
  const names = readdirSync(join(folder, 'named'));
  expect(names.filter((name) => !name.startsWith('nvidia-h200-2001-01-01'))).toEqual([]);
  const results = ['model.json', 'bars.json'].map((name) => `nvidia-h200-2001-01-01-${name}`);
  expect(names).toEqual(expect.arrayContaining(results));
  const model = JSON.parse(readFileSync(join(folder, 'named/nvidia-h200-2001-01-01-model.json'), 'utf8'));
  expect(model.device.device).toBe('NVIDIA H200');
  for (const kept of [...results, 'logs/card model.csv']) expect(archived('named')).toContain(kept);
});

test('what cannot begin says why', () => {
  const bare = join(folder, 'bare'); // all that comes before the tools are asked for, and no timeout
  mkdirSync(bare);
  for (const tool of ['bash', 'dirname', 'realpath'])
    symlinkSync(execFileSync('which', [tool], { encoding: 'utf8' }).trim(), join(bare, tool));
  const cases: [NodeJS.ProcessEnv, string[], string][] = [
    [{ ...env, PATH: bare }, [], 'timeout is not on PATH'],
    [env, ['--kit', '/nothing/here.tar.xz'], 'there is no kit /nothing/here.tar.xz'],
    [env, ['--out', '/proc/nothing'], 'nothing can be written to /proc/nothing'],
  ];
  for (const [environment, more, why] of cases) {
    const { status, stdout } = check('facts', 'refused', programs, environment, ...more);
    expect({ status, stdout }).toEqual({
      status: 1,
      stdout: expect.stringContaining(`gpu-check: ${why}\n0 passed, 1 failed, 0 left out\n`),
    });
  }
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
