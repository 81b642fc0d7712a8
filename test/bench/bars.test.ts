import { spawnSync } from 'node:child_process';
import { packageRoot } from '../../lib/native/load';

// How the benchmark of the CUDA backend judges what it measured: bench/bars.mjs on results made up here, since no card is
// needed to know what they should give.
interface Bar {
  work: string;
  value: number | null;
  passed: boolean | null;
  detail: string;
}
type Row = Record<string, unknown>;

function judge(results: { kernels: object | null; model: object | null }): { bars: Bar[]; table: string } {
  const script = `
    import { readFileSync } from 'node:fs';
    import { judge, table } from './bench/bars.mjs';
    const bars = judge(JSON.parse(readFileSync(0, 'utf8')));
    console.log(JSON.stringify({ bars, table: table(bars) }));`;
  const { status, stdout, stderr } = spawnSync(process.execPath, ['--input-type=module', '-e', script], {
    cwd: packageRoot(),
    input: JSON.stringify(results),
    encoding: 'utf8',
  });
  expect({ status, stderr }).toEqual({ status: 0, stderr: '' });
  return JSON.parse(stdout);
}

const device = { device: 'NVIDIA H200', scale: 'full' };
const product = (suite: string, name: string, ratio: number): Row => ({
  suite,
  name,
  sizes: { rows: 50432, in: 768, out: 768 },
  ratio,
});
const kernels = (): { device: typeof device; rows: Row[] } => ({
  device,
  rows: [
    {
      suite: 'square',
      name: 'forward',
      sizes: { rows: 8192, in: 8192, out: 8192 },
      microseconds: (2 * 8192 ** 3) / 712.5e6,
      ratio: 0.98,
    },
    ...['b16-8f-b32', 'b16-8f-b8', 'b32-8f-b64', 'l14-8f-b16'].flatMap((name) => [
      ...['fc1', 'qkv', 'out', 'fc2'].flatMap((layer) => [
        product(`${name} ${layer}`, 'forward', 0.9),
        product(`${name} ${layer}`, 'input', 1.6),
        product(`${name} ${layer}`, 'weight', 0.7),
      ]),
      product(`${name} fc1`, 'forward+gelu', 1.3),
    ]),
    product('b16-8f-b32 fc2', 'forward+gelu', 0.5), // the model has no activation there
    ...[51, 198, 258, 578].flatMap((keys) =>
      [
        ['forward', 1.2],
        ['forward+backward', keys === 578 ? 0.85 : 1.1],
      ].map(([name, ratio]) => ({
        suite: 'self',
        name,
        sizes: { batch: 1, keys, causal: 0 },
        ratio,
        backend: 'cudnn',
      })),
    ),
    { suite: 'self', name: 'forward', sizes: { batch: 1, keys: 51, causal: 1 }, ratio: 0.1 },
    ...[9, 9.5, 10].flatMap((floorBytes) => [
      { suite: 'memory', name: 'layer norm forward', sizes: {}, floorBytes, microseconds: 10 },
      {
        suite: 'memory',
        name: 'layer norm backward',
        sizes: {},
        floorBytes: floorBytes - 1,
        microseconds: 10,
      },
    ]),
    { suite: 'memory', name: 'adamw', sizes: {}, floorBytes: 900, microseconds: 1000 },
  ],
});
const step = (mode: string, batch: number, seconds: number, more: Row): Row => ({
  ours: { mode, arch: 'b16', frames: 8, batch, seconds },
  ...more,
});
const model = () => ({
  device,
  rows: [
    step('train', 8, 9, { speedup: 9, memory: 9 }),
    step('train', 32, 0.05, {
      speedup: 1.25,
      speedupCompiled: 0.99,
      memory: 0.8,
      compiled: { way: 'default' },
    }),
    step('infer', 1, 0.001, { speedup: 2, speedupCompiled: null }),
  ],
});

const of = (bars: Bar[], start: string) => {
  const [found, ...more] = bars.filter(({ work }) => work.startsWith(start));
  expect(more).toEqual([]);
  return found!;
};

test('each promise is compared with what was measured of it', () => {
  const { bars, table } = judge({ kernels: kernels(), model: model() });
  const verdicts: [string, number | null, boolean | null][] = [
    ['matmul, geometric mean', 1.003, true], // of 0.9, 1.6 and 0.7: not of epilogues, not of the square
    ['matmul, worst shape', 0.7, false],
    ['matmul, 8192', 712.5, true],
    ['linear + bias + QuickGELU', 1.3, true],
    ['attention forward, 51 ', 1.2, true],
    ['attention forward+backward, 198 ', 1.1, true],
    ['attention forward+backward, 578 ', 0.85, false],
    ['layer norm', 0.8, false],
    ['residual sum', null, null],
    ['AdamW', 0.9, true],
    ['pixels', null, null],
    ['inference B/16 8f, batch 32, to PyTorch compiled', null, null],
    ['inference B/16 8f, batch 1, to PyTorch compiled', null, null],
    ['training step B/16 8f, batch 32, to PyTorch compiled', 0.99, false],
    ['training step B/16 8f, batch 32, part of dense peak', 0.559, true], // 3 x 288 GFLOP x 32 / 0.05 s / 989 TFLOP/s
    ['peak memory', 0.8, true],
  ];
  for (const [work, value, passed] of verdicts) expect(of(bars, work)).toMatchObject({ value, passed });
  expect(bars.find(({ work }) => work === 'training step B/16 8f, batch 32, to PyTorch')).toMatchObject({
    value: 1.25,
    passed: true,
  });
  expect(of(bars, 'matmul, worst').detail).toBe('b16-8f-b32 fc1 weight 50432 768 768');
  const count = (passed: boolean | null) => bars.filter((bar) => bar.passed === passed).length;
  expect(table).toMatch(`\n${count(true)} kept, ${count(false)} missed, ${count(null)} not measured`);
  expect(table).toMatch(/^matmul, worst shape to cuBLAS +0\.7 ≥ 0\.75 x +MISSED /m);
});

test('where one row is missing, or has no ratio, nothing is known of the worst, nor of the mean', () => {
  const half = kernels();
  half.rows.find(({ name }) => name === 'input')!.ratio = undefined;
  const partial = kernels();
  for (const name of ['input', 'forward+gelu', 'layer norm forward', 'adamw']) {
    partial.rows.splice(
      partial.rows.findIndex((row) => row.name === name),
      1,
    );
  }
  for (const measured of [half, partial]) {
    const { bars } = judge({ kernels: measured, model: null });
    expect(of(bars, 'matmul, worst')).toMatchObject({ value: null, passed: null });
    expect(of(bars, 'matmul, geometric')).toMatchObject({ value: null, passed: null });
    if (measured === half) continue;
    for (const work of ['linear + bias', 'layer norm', 'AdamW'])
      expect(of(bars, work)).toMatchObject({ value: null, passed: null });
  }
});

test('what is below a bar is not rounded up to it', () => {
  const close = kernels();
  for (const row of close.rows) row.ratio = 0.8996;
  const { bars } = judge({ kernels: close, model: null });
  expect(of(bars, 'matmul, geometric')).toMatchObject({ value: 0.9, passed: false });
});

test('nothing is judged by a run that was cut down, nor by a peak that is not known', () => {
  const tiny = { device: { ...device, scale: 'tiny' } };
  const { bars } = judge({ kernels: { ...kernels(), ...tiny }, model: { ...model(), ...tiny } });
  expect(bars.map(({ passed }) => passed)).toEqual(bars.map(() => null));
  const other = { device: { device: 'NVIDIA T4', scale: 'full' } };
  const judged = judge({ kernels: null, model: { ...model(), ...other } });
  expect(of(judged.bars, 'training step B/16 8f, batch 32, part')).toMatchObject({
    value: null,
    passed: null,
  });
});
