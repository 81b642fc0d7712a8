import { type MatmulOptions, matmul } from '../../lib/ops/matmul';
import { tensor } from '../../lib/tensor/tensor';
import { checkOp } from '../support/check_op';
import { type Dense, dense, sizeOf } from '../support/dense';

interface Case extends MatmulOptions {
  name: string;
  inputs: [number[], number[]];
}

const cases: Case[] = [
  {
    name: 'matrices, odd sizes',
    inputs: [
      [3, 5],
      [5, 7],
    ],
  },
  {
    name: 'alpha',
    inputs: [
      [3, 4],
      [4, 2],
    ],
    alpha: -0.25,
  },
  {
    name: 'batch',
    inputs: [
      [2, 3, 4, 5],
      [2, 3, 5, 6],
    ],
  },
  {
    name: 'batch, a transposed',
    inputs: [
      [3, 5, 4],
      [3, 5, 6],
    ],
    transposeA: true,
    alpha: 2,
  },
  {
    name: 'batch, b transposed',
    inputs: [
      [3, 4, 5],
      [3, 6, 5],
    ],
    transposeB: true,
  },
  {
    name: 'batch, both transposed',
    inputs: [
      [3, 5, 4],
      [3, 6, 5],
    ],
    transposeA: true,
    transposeB: true,
  },
  {
    name: 'shared b',
    inputs: [
      [2, 3, 4, 5],
      [5, 6],
    ],
  },
  {
    name: 'shared b, transposed',
    inputs: [
      [3, 4, 5],
      [6, 5],
    ],
    transposeB: true,
  },
  {
    name: 'shared b, a transposed',
    inputs: [
      [3, 5, 4],
      [1, 5, 6],
    ],
    transposeA: true,
  },
  {
    name: 'shared a',
    inputs: [
      [4, 5],
      [3, 5, 6],
    ],
  },
  {
    name: 'shared a, both transposed',
    inputs: [
      [1, 5, 4],
      [3, 6, 5],
    ],
    transposeA: true,
    transposeB: true,
  },
  {
    name: 'a batch of one on both sides',
    inputs: [
      [1, 1, 4, 5],
      [1, 5, 6],
    ],
  },
  {
    name: 'a batch of one in b alone',
    inputs: [
      [4, 5],
      [1, 5, 6],
    ],
  },
  {
    name: 'empty batch',
    inputs: [
      [0, 4, 5],
      [5, 6],
    ],
  },
  {
    name: 'sum of nothing',
    inputs: [
      [2, 4, 0],
      [2, 0, 6],
    ],
  },
  {
    name: 'many small matrices',
    inputs: [
      [150, 2, 3],
      [150, 3, 2],
    ],
  },
];

function reference([a, b]: Dense[], index: number): Dense {
  const { transposeA, transposeB, alpha = 1 } = cases[index]!;
  const [aRows, aColumns] = a!.shape.slice(-2) as [number, number];
  const [bRows, bColumns] = b!.shape.slice(-2) as [number, number];
  const [m, k] = transposeA ? [aColumns, aRows] : [aRows, aColumns];
  const n = transposeB ? bRows : bColumns;
  const [aLead, bLead] = [a!.shape.slice(0, -2), b!.shape.slice(0, -2)];
  const bLeads = sizeOf(aLead) === 1 && (sizeOf(bLead) !== 1 || bLead.length > aLead.length);
  const c = dense([...(bLeads ? bLead : aLead), m, n]);
  for (let i = 0; i < c.data.length; i++) {
    const batch = Math.floor(i / (m * n));
    const row = Math.floor(i / n) % m;
    const aStart = sizeOf(aLead) === 1 ? 0 : batch * m * k;
    const bStart = sizeOf(bLead) === 1 ? 0 : batch * k * n;
    let sum = 0;
    for (let j = 0; j < k; j++) {
      const x = a!.data[aStart + (transposeA ? j * m + row : row * k + j)]!;
      sum += x * b!.data[bStart + (transposeB ? (i % n) * k + j : j * n + (i % n))]!;
    }
    c.data[i] = alpha * sum;
  }
  return c;
}

checkOp({
  run: ([a, b], index) => {
    const { transposeA, transposeB, alpha } = cases[index]!;
    return matmul(a!, b!, { transposeA, transposeB, alpha });
  },
  reference,
  cases,
});

test('products of one shape by different factors', async () => {
  const [a, b] = [tensor([[1, 2, 3]]), tensor([[1], [1], [1]])];
  for (const alpha of [1, 0.5, 1, 2, 0.5]) expect(await matmul(a, b, { alpha }).item()).toBe(6 * alpha);
});

const zeros = (...shape: number[]) => tensor(new Float32Array(sizeOf(shape)), shape);

test.each([
  ['ERR_SHAPE', /inner sizes differ/, () => matmul(zeros(2, 3), zeros(2, 3))],
  ['ERR_SHAPE', /leading dimensions differ/, () => matmul(zeros(2, 2, 3), zeros(3, 3, 2))],
  ['ERR_SHAPE', /two dimensions/, () => matmul(zeros(3), zeros(3, 2))],
  ['ERR_DTYPE', /one dtype/, () => matmul(zeros(1, 1), tensor([[1]], undefined, { dtype: 'bfloat16' }))],
])('rejects wrong operands: %s %s', (code, message, body) => {
  expect(body).toThrow(expect.objectContaining({ code, message: expect.stringMatching(message) }));
});
