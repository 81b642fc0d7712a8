// Weights that the CPU backend keeps in the order of its kernel, in the same memory: nobody may notice.
import { existsSync, readFileSync } from 'node:fs';
import { setProfiling, takeProfile } from '../../lib/native/device';
import { type NativeTensor, native } from '../../lib/native/load';

const avx2 = existsSync('/proc/cpuinfo') && readFileSync('/proc/cpuinfo', 'utf8').includes('avx2');

const op = native();
const make = (shape: number[], stream: number) => op.randomUniform(shape, -1, 1, 1, stream, 'cpu');
const bytes = async (handle: NativeTensor) => Buffer.from(await op.read(handle));

const layer = (x: NativeTensor, weight: NativeTensor, residual: NativeTensor | null = null) =>
  op.linearForward(x, weight, null, residual, 'none', false)[0];

beforeAll(() => setProfiling(true, 'cpu'));
afterAll(() => {
  setProfiling(false, 'cpu');
  op.setThreads(2);
});
beforeEach(() => takeProfile('cpu'));

/** How often weights were put into the kernel's order and back since the test began. */
function moves(): { packed: number; unpacked: number } {
  const calls = new Map(takeProfile('cpu').map(({ op: name, calls }) => [name, calls]));
  return { packed: calls.get('pack_weight') ?? 0, unpacked: calls.get('unpack_weight') ?? 0 };
}

// A block alone, blocks and panels left over, Strassen's quarters and sixteenths in one and in several blocks of depth,
// strips of rows and columns.
const sizes = [
  [16, 32, 32],
  [133, 416, 448],
  [256, 256, 256],
  [410, 1600, 832],
  [840, 1664, 1792],
] as const;

test.each(sizes)(
  'x of [%i, %i] by a weight of [%i, ...] gives the same bits however it is kept, on any number of threads',
  async (rows, inputs, out) => {
    const [x, weight, dy] = [make([rows, inputs], 1), make([out, inputs], 2), make([rows, out], 3)];
    const order = await bytes(weight);
    const first = await bytes(layer(x, weight, dy));
    for (const threads of [2, 1, 2, 3, 5, 2]) {
      op.setThreads(threads);
      expect((await bytes(layer(x, weight, dy))).equals(first)).toBe(true);
    }
    expect(moves()).toEqual({ packed: avx2 ? 1 : 0, unpacked: 0 });

    const fresh = op.cast(make([out, inputs], 2), 'float32');
    const gradient = await bytes(op.linearBackwardInput(dy, fresh, null));
    expect((await bytes(op.linearBackwardInput(dy, weight, null))).equals(gradient)).toBe(true);
    expect((await bytes(weight)).equals(order)).toBe(true);
    expect(moves()).toEqual({ packed: 0, unpacked: avx2 ? 1 : 0 });
  },
);

test('whoever reads, writes or views a weight finds it in order', async () => {
  const [x, few] = [make([32, 64], 1), make([3, 64], 5)];
  const uses: [string, (weight: NativeTensor) => NativeTensor][] = [
    ['read', (weight) => op.retain(weight)],
    ['copied', (weight) => op.cast(weight, 'float32')],
    ['sliced', (weight) => op.rows(weight, 7, 2)],
    ['of another shape', (weight) => op.reshape(weight, [32, 192])],
    ['of another shape in a layer', (weight) => layer(make([32, 32], 4), op.reshape(weight, [192, 32]))],
    ['a part of it in a layer', (weight) => layer(x, op.rows(weight, 32, 32))],
    ['multiplied by few rows', (weight) => layer(few, weight)],
    ['multiplied by itself', (weight) => layer(weight, weight)],
    ['added', (weight) => layer(x, make([96, 64], 2), op.reshape(op.rows(weight, 0, 48), [32, 96]))],
  ];
  for (const [name, use] of uses) {
    const weight = make([96, 64], 2);
    const wanted = await bytes(use(make([96, 64], 2)));
    for (let i = 0; i < 3; i++) layer(x, weight);
    expect([name, (await bytes(use(weight))).equals(wanted)]).toEqual([name, true]);
    expect([name, moves()]).toEqual([name, { packed: avx2 ? 1 : 0, unpacked: avx2 ? 1 : 0 }]);
  }
});

test('a part of a weight is never packed, and is that part', async () => {
  const [x, whole] = [make([32, 64], 1), make([96, 64], 2)];
  const part = op.rows(whole, 32, 32);
  const wanted = await bytes(layer(x, op.cast(part, 'float32')));
  for (let i = 0; i < 4; i++) expect((await bytes(layer(x, part))).equals(wanted)).toBe(true);
  expect(moves()).toEqual({ packed: 0, unpacked: 0 });
});

test('a weight of more inputs than panels are moved through memory for stays in order', async () => {
  const [x, weight] = [make([16, 8224], 1), make([32, 8224], 2)];
  for (let i = 0; i < 4; i++) layer(x, weight);
  expect(moves()).toEqual({ packed: 0, unpacked: 0 });
});

test('products with infinity in x, which AMX has no tiles for, are the same however a weight is kept', async () => {
  const data = new Float32Array(128 * 128).fill(1);
  data[5] = Number.POSITIVE_INFINITY;
  const [x, weight] = [op.tensorFromHost(data, [128, 128], 'float32', 'cpu'), make([128, 128], 2)];
  const first = await bytes(layer(x, weight));
  for (let i = 0; i < 3; i++) expect((await bytes(layer(x, weight))).equals(first)).toBe(true);
  expect(moves().packed).toBe(avx2 ? 1 : 0);
});

test('a weight in training stays in order', async () => {
  const [x, weight, dy] = [make([32, 64], 1), make([96, 64], 2), make([32, 96], 3)];
  for (let step = 0; step < 4; step++) {
    layer(x, weight);
    layer(x, weight); // recomputed
    await op.read(op.linearBackwardInput(dy, weight, null));
  }
  expect(moves()).toEqual({ packed: 0, unpacked: 0 });
});

test('memory of a packed weight is in order for whoever gets it next', async () => {
  const x = make([32, 64], 1);
  for (let round = 0; round < 3; round++) {
    const weight = make([96, 64], 2 + round);
    const wanted = await bytes(weight);
    for (let i = 0; i < 4; i++) layer(x, weight);
    expect((await bytes(weight)).equals(wanted)).toBe(true);
    for (let i = 0; i < 4; i++) layer(x, weight);
    op.release(weight);
  }
});
