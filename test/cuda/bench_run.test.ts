import { spawnSync } from 'node:child_process';
import {
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { packageRoot } from '../../lib/native/load';

// `npm run bench -- --device cuda` at its smallest size on the emulated device, and the loss curve: that each suite runs
// and leaves what the next one reads. PyTorch is not at hand, and what is missing is said.
const folder = mkdtempSync(join(tmpdir(), 'bench-run-'));
afterAll(() => rmSync(folder, { recursive: true }));

function node(...args: string[]) {
  return nodeWith({}, ...args);
}
function nodeWith(env: Record<string, string>, ...args: string[]) {
  const { status, stdout, stderr } = spawnSync(process.execPath, args, {
    cwd: packageRoot(),
    env: { ...process.env, ...env }, // that of the test, which names the emulated device
    encoding: 'utf8',
    maxBuffer: 1 << 26,
  });
  return { status, stdout, stderr };
}
const resultOf = (name: string) => {
  const [file, ...more] = readdirSync(folder).filter((entry) => entry.endsWith(`-${name}.json`));
  expect(more).toEqual([]);
  return JSON.parse(readFileSync(join(folder, file!), 'utf8'));
};

test('kernels, models and bars, in one command', () => {
  const program = join(packageRoot(), 'build/emulation/cuda_bench');
  const { status, stdout, stderr } = node(
    ...['bench/run.mjs', '--device', 'cuda', '--scale', 'tiny', '--program', program, '--out', folder],
    ...['--python', 'no-python-here'],
  );
  expect({ status, stderr: stderr.split('\n').filter((line) => line.startsWith('bench')) }).toEqual({
    status: 0,
    stderr: Array(2).fill(
      'bench: no-python-here has no PyTorch that sees the card, so ours is measured alone',
    ),
  });
  expect(stdout).toContain('scale tiny: this shows that everything runs, and nothing about time');
  expect(stdout).toMatch(/\n0 kept, 0 missed, \d+ not measured\n/);

  const kernels = resultOf('kernels');
  expect(kernels.device).toMatchObject({ device: 'emulated device', scale: 'tiny' });
  expect(kernels.rows.length).toBeGreaterThan(50);
  const model = resultOf('model');
  expect(model.rows.map(({ ours }: { ours: { mode: string } }) => ours.mode)).toEqual(['infer', 'train']);
  for (const row of model.rows) {
    for (const way of ['ours', 'eager', 'apart']) expect(row[way].seconds).toBeGreaterThan(0);
    expect([row.ours.execution, row.eager.execution, row.apart.execution]).toEqual([
      'graph',
      'eager',
      'graph',
    ]);
    expect(row.ours.reservedDeviceMb).toBeGreaterThan(0);
  }
  expect(resultOf('bars').bars.length).toBeGreaterThan(20);
});

test('a model that fails is kept as that, and those behind it are measured, as it is before any is compiled', () => {
  // The device is hidden from the models alone.
  const program = join(folder, 'cuda_bench');
  const seeing = `#!/bin/sh\nunset CUDA_VISIBLE_DEVICES\nexec '${packageRoot()}/build/emulation/cuda_bench' "$@"\n`;
  writeFileSync(program, seeing, { mode: 0o755 });
  const out = join(folder, 'failing');
  const python = join(folder, 'python'); // whose compilations do not end
  const calls = join(folder, 'calls');
  writeFileSync(
    python,
    `#!/bin/sh
    echo "$2 $8" >>'${calls}'
    case $8 in eager) echo '{"way":"eager","seconds":0.5}';; default) exit 124;; esac`,
    { mode: 0o755 },
  );
  const { status, stderr } = nodeWith(
    { CUDA_VISIBLE_DEVICES: '' },
    ...['bench/run.mjs', '--device', 'cuda', '--scale', 'tiny', '--program', program, '--out', out],
    ...['--python', python, 'model'],
  );
  expect(status).toBe(1);
  expect(stderr).toContain('bench: model.mjs infer tiny 2 1 bf16 400 1 cuda graph: it ended with status 1');
  const [file] = readdirSync(out);
  const { rows } = JSON.parse(readFileSync(join(out, file!), 'utf8'));
  const failed = expect.objectContaining({ error: 'it ended with status 1' });
  expect(rows).toMatchObject(
    ['infer', 'train'].map((mode) => ({
      ours: { mode },
      torch: { way: 'eager', seconds: 0.5 },
      compiled: { error: 'it ended without a result' },
      eager: failed,
      apart: failed,
    })),
  );
  const asked = readFileSync(calls, 'utf8').trim().split('\n');
  expect(asked.slice(1, 4)).toEqual(['infer eager', 'train eager', 'infer default']);
});

test('of two results for the same kernels the newer is judged, under the name that was given', () => {
  const out = join(folder, 'newer');
  mkdirSync(out);
  const device = { device: 'NVIDIA H200', scale: 'full' };
  const adamw = { suite: 'memory', name: 'adamw', sizes: {}, floorBytes: 8, gigabytesPerSecond: 1 };
  const older = { device, rows: [{ ...adamw, microseconds: 10 }] };
  writeFileSync(join(out, 'a-card-kernels.json'), JSON.stringify(older));
  utimesSync(join(out, 'a-card-kernels.json'), 1, 1);
  const newer = [device, { ...adamw, microseconds: 8 }].map((row) => JSON.stringify(row)).join('\n');
  writeFileSync(join(out, 'a-card-kernels.jsonl'), newer);
  const run = node('bench/run.mjs', '--device', 'cuda', '--out', out, '--slug', 'a-card', 'bars');
  expect(run).toMatchObject({ status: 0, stdout: expect.stringMatching(/^AdamW, .* 1 ≥ 0.85 +kept /m) });
  expect(readdirSync(out)).toContain('a-card-bars.json');
});

test('the loss curve of both devices', () => {
  const file = join(folder, 'curve.json');
  const { status, stdout } = node('bench/loss_curve.mjs', '3', file, '2');
  expect({ status, stdout }).toEqual({
    status: 0,
    stdout: expect.stringMatching(/^3 steps: CPU .* CUDA .* apart by /),
  });
  const { cpu, cuda, largestApart } = JSON.parse(readFileSync(file, 'utf8'));
  expect([cpu.length, cuda.length]).toEqual([3, 3]);
  expect(cuda).not.toEqual(cpu); // it is not the same device twice
  expect(largestApart).toBeLessThan(0.05); // bfloat16 products; a wrong gradient shows in the second step
  expect(node('bench/loss_curve.mjs', '1', file)).toMatchObject({ status: 2 });
});
