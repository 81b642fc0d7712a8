// What the CUDA backend has promised (on an H200, bfloat16), and what a run measured of it: `judge` reads the results of
// the suites kernels and model. A promise that nothing was measured for is neither kept nor broken.

/** Dense bfloat16 FLOP/s of cards by their makers' data sheets; the first name that fits counts. */
const densePeaks = [
  [/H200 NVL/, 835e12],
  [/H100 PCIe/, 756e12],
  [/H100 NVL/, 835e12],
  [/H100|H200|GH200/, 989e12],
  [/A100/, 312e12],
];
/** FLOP of one B/16 8-frame video's forward pass; its backward pass takes twice that. */
const forwardFlops = 288e9;

const geometricMean = (values) => Math.exp(values.reduce((sum, x) => sum + Math.log(x), 0) / values.length);
const keysOf = (row) => row.sizes?.keys;
const named = (rows, ...names) => rows.filter((row) => names.includes(row.name));
const label = (row) => `${row.suite} ${row.name} ${Object.values(row.sizes).join(' ')}`;

/** One promise: the measured value, null where it is missing, and what it is the value of. */
function bar(work, value, least, { field, detail = '', most = false, unit = 'x' }) {
  const known = Number.isFinite(value); // rounded for the table alone: what is below a bar is not brought up to it
  const rounded = known ? Number(value.toFixed(3)) : null;
  const passed = known ? (most ? value <= least : value >= least) : null;
  return { work, value: rounded, bar: `${most ? '≤' : '≥'} ${least} ${unit}`.trim(), passed, field, detail };
}

/** The worst of so many rows that all must have the figure; where one is missing nothing is known. */
function worst(rows, count, figure) {
  if (rows.length !== count || rows.some((row) => !Number.isFinite(figure(row)))) return null;
  return rows.reduce((a, b) => (figure(b) < figure(a) ? b : a));
}

const ratioOf = (row) => row.ratio;
/** The part of the card's own copy bandwidth, measured in the same run, that a kernel reaches. */
const ofCopy = (row) => row.floorBytes / row.microseconds;

function matmulBars(rows) {
  const products = named(rows, 'forward', 'input', 'weight').filter(
    ({ suite }) => !['square', 'self', 'cross', 'memory'].includes(suite),
  );
  const slowest = worst(products, 48, ratioOf);
  const square = rows.find(({ suite, sizes }) => suite === 'square' && sizes.rows === 8192);
  const gelu = named(rows, 'forward+gelu').filter(({ suite }) => suite.endsWith(' fc1'));
  const slowestGelu = worst(gelu, 4, ratioOf);
  const eager = gelu.some(({ way }) => way === 'eager') ? '; PyTorch could not compile its QuickGELU' : '';
  return [
    bar('matmul, geometric mean to cuBLAS', slowest ? geometricMean(products.map(ratioOf)) : null, 0.9, {
      field: 'kernels ratio',
      detail: `${products.length} products`,
    }),
    bar('matmul, worst shape to cuBLAS', slowest?.ratio, 0.75, {
      field: 'kernels ratio',
      detail: slowest ? label(slowest) : '',
    }),
    bar('matmul, 8192 x 8192 x 8192', square ? (2 * 8192 ** 3) / square.microseconds / 1e6 : null, 700, {
      field: 'kernels tflops',
      unit: 'TFLOP/s',
      detail: square?.ratio ? `${square.ratio.toFixed(3)}x cuBLAS` : '',
    }),
    bar("linear + bias + QuickGELU to PyTorch's two kernels, worst fc1", slowestGelu?.ratio, 1.1, {
      field: 'kernels ratio',
      detail: slowestGelu ? `${label(slowestGelu)}${eager}` : '',
    }),
  ];
}

function attentionBars(rows) {
  const self = rows.filter(({ suite, sizes }) => suite === 'self' && !sizes.causal);
  return [
    ['forward', 1.0],
    ['forward+backward', 0.9],
  ].flatMap(([name, least]) =>
    [51, 198, 258, 578].map((keys) => {
      const row = self.find((candidate) => candidate.name === name && keysOf(candidate) === keys);
      const detail = row?.backend ? `best backend ${row.backend}` : '';
      return bar(`attention ${name}, ${keys} tokens, to the best backend`, row?.ratio, least, {
        field: 'kernels ratio, backends',
        detail,
      });
    }),
  );
}

function memoryBars(rows) {
  return [
    ['layer norm', 6, 'layer norm forward', 'layer norm backward'], // each in three shapes
    ['residual sum', 1, 'add'],
    ['AdamW', 1, 'adamw'],
    ['pixels', 1, 'pixels'],
  ].map(([work, count, ...names]) => {
    const slowest = worst(named(rows, ...names), count, ofCopy);
    return bar(`${work}, part of copy bandwidth`, slowest ? ofCopy(slowest) : null, 0.85, {
      field: 'kernels floorBytes / microseconds',
      unit: '',
      detail: slowest ? `${label(slowest)}, ${slowest.gigabytesPerSecond} GB/s` : '',
    });
  });
}

function modelBars(rows, device) {
  const find = (mode, batch) =>
    rows.find(
      ({ ours }) =>
        ours.seconds && // else it failed
        ours.mode === mode &&
        ours.arch === 'b16' &&
        ours.frames === 8 &&
        ours.batch === batch,
    );
  const step = find('train', 32);
  const peak = densePeaks.find(([name]) => name.test(device ?? ''))?.[1];
  const flops = step ? (3 * forwardFlops * step.ours.batch) / step.ours.seconds : null;
  const speeds = (work, row, eager) => [
    bar(`${work}, to PyTorch`, row?.speedup, eager, {
      field: 'model speedup',
      detail: row ? `${row.ours.videosPerSecond} videos/s` : '',
    }),
    bar(`${work}, to PyTorch compiled`, row?.speedupCompiled, 1.0, {
      field: 'model speedupCompiled',
      detail: row?.compiled?.way ? `mode ${row.compiled.way}` : '',
    }),
  ];
  return [
    ...[32, 1].flatMap((batch) => speeds(`inference B/16 8f, batch ${batch}`, find('infer', batch), 1.3)),
    ...speeds('training step B/16 8f, batch 32', step, 1.2),
    bar('training step B/16 8f, batch 32, part of dense peak', flops && peak ? flops / peak : null, 0.5, {
      field: 'model ours.seconds',
      unit: '',
      detail: flops
        ? `${(flops / 1e12).toFixed(0)} TFLOP/s of ${peak ? peak / 1e12 : 'an unknown peak'}`
        : '',
    }),
    bar('peak memory of that step to PyTorch', step?.memory, 0.8, {
      field: 'model memory',
      most: true,
      detail: step?.memoryReserved ? `held from the driver: ${step.memoryReserved.toFixed(3)} x` : '',
    }),
  ];
}

/**
 * Every promise, from the results of the suites: null where a suite was not run. What ran at another scale than `full` says
 * nothing about it.
 */
export function judge({ kernels, model }) {
  const rowsOf = (result) => (result?.device.scale === 'full' ? result.rows : []);
  const rows = rowsOf(kernels);
  return [
    ...matmulBars(rows),
    ...attentionBars(rows),
    ...memoryBars(rows),
    ...modelBars(rowsOf(model), model?.device.device),
  ];
}

const verdicts = new Map([
  [true, 'kept'],
  [false, 'MISSED'],
  [null, 'not measured'],
]);

export function table(bars) {
  const lines = bars.map(({ work, value, bar, passed, detail }) =>
    [
      work.padEnd(66),
      String(value ?? '–').padStart(8),
      bar.padEnd(13),
      verdicts.get(passed).padEnd(13),
      detail,
    ]
      .join(' ')
      .trimEnd(),
  );
  const count = (verdict) => bars.filter(({ passed }) => passed === verdict).length;
  return [...lines, `${count(true)} kept, ${count(false)} missed, ${count(null)} not measured`].join('\n');
}
