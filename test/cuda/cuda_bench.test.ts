import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { packageRoot } from '../../lib/native/load';

// The benchmark of the CUDA kernels at its smallest size: that every measurement runs and is reported. On a card they
// run by scripts/gpu-check.sh.
interface Row {
  suite: string;
  name: string;
  sizes: Record<string, number>;
  [figure: string]: unknown;
}

const figures = [
  'microseconds',
  'floorArithmetic',
  'floorBytes',
  'predicted',
  'tflops',
  'gigabytesPerSecond',
];

function bench(args: string[], env: Record<string, string> = {}) {
  const { status, stdout, stderr } = spawnSync(join(packageRoot(), 'build/emulation/cuda_bench'), args, {
    encoding: 'utf8',
    env: { ...process.env, ...env },
    maxBuffer: 1 << 26,
  });
  return { status, stderr, lines: stdout.split('\n').filter(Boolean) };
}

/** The device and the rows of a run, each of which must be complete and in the table too. */
function measured(args: string[]): { device: Record<string, unknown>; rows: Row[] } {
  const { status, stderr, lines } = bench(['--tiny', ...args]);
  expect({ status, last: stderr.split('\n').at(-2) }).toEqual({ status: 0, last: expect.any(String) });
  const [device, ...rows] = lines.map((line) => JSON.parse(line));
  for (const row of rows) {
    for (const figure of figures) expect(row[figure]).toBeGreaterThanOrEqual(0);
    expect(row.microseconds).toBeGreaterThan(0);
    expect(stderr).toContain(`\n  ${row.name.padEnd(40)} ${Object.values(row.sizes).join(' ')}`);
  }
  return { device, rows };
}

test('every kernel of the training step is measured, with its floors', () => {
  const { device, rows } = measured([]);
  expect(device).toMatchObject({ device: 'emulated device', capability: 90, kernels: 90, scale: 'tiny' });
  expect(device.residentPairs).toBe(Number(device.multiprocessors) / 2);
  const namesOf = (suite: string) => [...new Set(rows.filter((r) => r.suite === suite).map((r) => r.name))];
  const products = ['forward', 'forward+gelu', 'forward, gelu', 'forward+gelu+slope', 'forward+residual'];
  products.push('forward, residual', 'input', 'input+slope', 'weight', 'weight+bias');
  for (const layer of ['qkv', 'out', 'fc1', 'fc2']) expect(namesOf(`tiny ${layer}`)).toEqual(products);
  expect(namesOf('square')).toEqual(['forward']);
  expect(namesOf('self')).toEqual(['forward', 'backward', 'forward+backward']);
  expect(namesOf('cross')).toEqual(['forward', 'backward']);
  const memory = ['device copy', 'layer norm forward', 'layer norm backward', 'adamw', 'add', 'cast'];
  expect(namesOf('memory')).toEqual([...memory, 'cross entropy', 'pixels']);
});

describe('the sweep', () => {
  let device: Record<string, unknown>;
  let rows: Row[];
  beforeAll(() => {
    ({ device, rows } = measured(['sweep']));
  });

  test('tries tiles, clusters and slabs, and marks one as the choice of the rule', () => {
    const products = new Map<string, Row[]>();
    for (const row of rows.filter(({ suite }) => suite.startsWith('sweep'))) {
      const product = `${row.suite} ${row.name.split(' ')[0]}`;
      products.set(product, [...(products.get(product) ?? []), row]);
    }
    expect(products.size).toBe(4 * 3);
    for (const [product, tried] of products) {
      expect({ product, rules: tried.filter((row) => row.name.endsWith('(rule)')).length }).toEqual({
        product,
        rules: 1,
      });
      expect(tried.length).toBeGreaterThanOrEqual(8);
    }
  });

  test('prints what makes a table of products', () => {
    // Of a tiny run there is no table; the form of what is printed is the same.
    const sweep = [{ ...device, scale: 'full' }, ...rows].map((row) => JSON.stringify(row)).join('\n');
    const folder = mkdtempSync(join(tmpdir(), 'sweep-'));
    try {
      writeFileSync(join(folder, 'sweep.jsonl'), sweep);
      const script = join(packageRoot(), 'bench/cuda/tile_table.mjs');
      const { status, stdout } = spawnSync(process.execPath, [script, join(folder, 'sweep.jsonl')], {
        encoding: 'utf8',
      });
      expect(status).toBe(0);
      const table = stdout.split('\n').slice(2, -1);
      const products = rows.map(({ name, sizes: { m, n, k } }) => [name.split(' ')[0], m, n, k].join(', '));
      const ofSweep = new Set(products.filter((product) => /^(forward|input|weight), \d/.test(product)));
      const found = table.map((line) => /ProductKind::(\w+, \d+, \d+, \d+), \{(80|90), /.exec(line)?.[1]);
      expect(new Set(found)).toEqual(ofSweep);
      expect(found).toHaveLength(12);
    } finally {
      rmSync(folder, { recursive: true });
    }
  });
});

test('one measurement can be made for a profiler, by its name in the table', () => {
  const label = 'self backward 1 50 51 1 0';
  const one = bench(['--tiny', '--profile', label, 'attention']);
  expect(one).toMatchObject({
    status: 0,
    lines: [expect.any(String), expect.stringContaining('device copy')],
  });
  const none = bench(['--tiny', '--profile', label, 'memory']);
  expect(none).toMatchObject({ status: 2, stderr: expect.stringContaining('no measurement of that name') });
});

test('without a device, and with arguments it does not know, it says so', () => {
  const hidden = bench(['--tiny'], { CUDA_VISIBLE_DEVICES: '' });
  expect(hidden).toMatchObject({ status: 3, lines: [] });
  expect(hidden.stderr).toMatch(/^cuda_bench: the NVIDIA driver sees no device.*\n$/);
  const device = bench(['device']);
  expect(device).toMatchObject({ status: 0, lines: [expect.stringContaining('"emulated device"')] });
  const wrong = bench(['--tiny', 'matmull']);
  expect(wrong).toMatchObject({ status: 2, lines: [] });
  expect(wrong.stderr).toContain("not 'matmull'");
});
