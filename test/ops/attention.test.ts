import { native } from '../../lib/native/load';
import {
  type AttentionOptions,
  attention,
  type SelfAttentionOptions,
  selfAttention,
} from '../../lib/ops/attention';
import { full } from '../../lib/ops/copy';
import { Tensor, tensor } from '../../lib/tensor/tensor';
import { checkOp, expectClose } from '../support/check_op';
import { type Dense, dense, randomDense, sizeOf } from '../support/dense';

// Row (n, i) of head h: where it starts in `data`.
interface Rows {
  data: Float64Array;
  start(n: number, i: number, h: number): number;
}

function reference(
  q: Rows,
  k: Rows,
  v: Rows,
  shape: number[],
  keys: number,
  options: AttentionOptions,
): Dense {
  const [batch, queries, dim] = shape as [number, number, number];
  const { heads, causal } = options;
  const size = dim / heads;
  const out = dense(shape);
  const dot = (a: Rows, b: Rows, n: number, i: number, j: number, h: number) => {
    let sum = 0;
    for (let d = 0; d < size; d++) sum += a.data[a.start(n, i, h) + d]! * b.data[b.start(n, j, h) + d]!;
    return sum / Math.sqrt(size);
  };
  for (let n = 0; n < batch; n++) {
    for (let h = 0; h < heads; h++) {
      for (let i = 0; i < queries; i++) {
        const logits = Array.from({ length: keys }, (_, j) =>
          causal && j > i ? Number.NEGATIVE_INFINITY : dot(q, k, n, i, j, h),
        );
        const weights = logits.map((logit) => Math.exp(logit - Math.max(...logits)));
        const total = weights.reduce((a, b) => a + b, 0);
        weights.forEach((weight, j) => {
          for (let d = 0; d < size; d++) {
            out.data[(n * queries + i) * dim + h * size + d]! +=
              (weight / total) * v.data[v.start(n, j, h) + d]!;
          }
        });
      }
    }
  }
  return out;
}

// Columns first .. first + dim - 1 of x [N or 1, S, width].
function rowsOf(x: Dense, heads: number, dim = x.shape[2]!, first = 0): Rows {
  const [batch, length, width] = x.shape as [number, number, number];
  const start = (n: number, i: number, h: number) =>
    ((batch === 1 ? 0 : n) * length + i) * width + first + (h * dim) / heads;
  return { data: x.data, start };
}

interface SeparateCase extends AttentionOptions {
  name: string;
  inputs: [number[], number[], number[]];
}

const separate: SeparateCase[] = [
  {
    name: 'one head',
    inputs: [
      [1, 3, 8],
      [1, 5, 8],
      [1, 5, 8],
    ],
    heads: 1,
  },
  {
    name: 'heads of odd size',
    inputs: [
      [2, 4, 15],
      [2, 7, 15],
      [2, 7, 15],
    ],
    heads: 3,
  },
  {
    name: 'heads of whole vectors, which are read where they are',
    inputs: [
      [2, 5, 32],
      [2, 19, 32],
      [2, 19, 32],
    ],
    heads: 2,
  },
  {
    name: 'queries shared by the batch',
    inputs: [
      [1, 5, 12],
      [3, 6, 12],
      [3, 6, 12],
    ],
    heads: 2,
  },
  {
    name: 'causal',
    inputs: [
      [2, 9, 8],
      [2, 9, 8],
      [2, 9, 8],
    ],
    heads: 2,
    causal: true,
  },
  {
    name: 'more than one block of queries',
    inputs: [
      [1, 131, 4],
      [1, 18, 4],
      [1, 18, 4],
    ],
    heads: 1,
  },
  {
    name: 'more than one block of queries, heads of whole vectors',
    inputs: [
      [1, 66, 16],
      [1, 18, 16],
      [1, 18, 16],
    ],
    heads: 1,
  },
  {
    name: 'queries shared by the batch, heads of whole vectors',
    inputs: [
      [1, 5, 32],
      [3, 6, 32],
      [3, 6, 32],
    ],
    heads: 2,
  },
  {
    name: 'empty batch',
    inputs: [
      [0, 2, 4],
      [0, 3, 4],
      [0, 3, 4],
    ],
    heads: 2,
  },
];

describe('attention', () => {
  checkOp({
    run: ([q, k, v], index) => {
      const { heads, causal } = separate[index]!;
      return attention(q!, k!, v!, { heads, causal });
    },
    reference: ([q, k, v], index) => {
      const { heads } = separate[index]!;
      const [batch, keys, dim] = k!.shape as [number, number, number];
      const [a, b, c] = [q!, k!, v!].map((x) => rowsOf(x, heads)) as [Rows, Rows, Rows];
      return reference(a, b, c, [batch, q!.shape[1]!, dim], keys, separate[index]!);
    },
    cases: separate,
  });
});

interface PackedCase extends SelfAttentionOptions {
  name: string;
  inputs: [number[]];
}

const packed: PackedCase[] = [
  { name: 'all rows are queries', inputs: [[2, 5, 24]], heads: 2 },
  { name: 'the last row is a key only', inputs: [[2, 6, 24]], heads: 1, queries: 5 },
  { name: 'causal over more than one block', inputs: [[1, 70, 12]], heads: 2, causal: true },
  { name: 'heads of whole vectors, one row a key only', inputs: [[1, 18, 96]], heads: 2, queries: 17 },
  { name: 'causal, heads of whole vectors', inputs: [[1, 66, 48]], heads: 1, causal: true },
  { name: 'one token', inputs: [[3, 1, 12]], heads: 2 },
];

describe('self-attention', () => {
  checkOp({
    run: ([qkv], index) => {
      const { heads, causal, queries } = packed[index]!;
      return selfAttention(qkv!, { heads, causal, queries });
    },
    reference: ([qkv], index) => {
      const { heads, queries } = packed[index]!;
      const [batch, keys, width] = qkv!.shape as [number, number, number];
      const dim = width / 3;
      const [q, k, v] = [0, 1, 2].map((part) => rowsOf(qkv!, heads, dim, part * dim)) as [Rows, Rows, Rows];
      return reference(q, k, v, [batch, queries ?? keys, dim], keys, packed[index]!);
    },
    cases: packed,
  });
});

test('logits far above the range of exp do not overflow', async () => {
  const large = (shape: number[], seed: number) =>
    tensor(Float32Array.from(randomDense(shape, seed, 300).data), shape);
  const y = attention(large([1, 7, 8], 1), large([1, 20, 8], 2), large([1, 20, 8], 3), { heads: 1 });
  const again = attention(large([1, 7, 8], 1), large([1, 20, 8], 2), large([1, 20, 8], 3), { heads: 1 });
  const values = (await y.data()) as Float32Array;
  expect(values.every(Number.isFinite)).toBe(true);
  expectClose('repeated', (await again.data()) as Float32Array, values, 0);
});

// One key that is no number makes the weights of all queries that see it so, and one far below the others has none.
test.each([
  ['small heads', 6],
  ['heads of whole vectors', 16],
])('NaN and -infinity among the keys, %s', async (_, size) => {
  const keys = randomDense([1, 20, size], 2);
  const data = (change: (k: Float32Array) => void) => {
    const k = Float32Array.from(keys.data);
    change(k);
    const [q, v] = [1, 3].map((seed) =>
      tensor(Float32Array.from(randomDense([1, 20, size], seed).data.map(Math.abs)), [1, 20, size]),
    );
    return attention(q!, tensor(k, [1, 20, size]), v!, {
      heads: 1,
      causal: true,
    }).data() as Promise<Float32Array>;
  };
  const plain = await data(() => {});
  const withNaN = await data((k) => k.fill(Number.NaN, 17 * size, 17 * size + 1));
  expect([...withNaN.subarray(0, 17 * size)]).toEqual([...plain.subarray(0, 17 * size)]);
  expect(withNaN.subarray(17 * size).every(Number.isNaN)).toBe(true);
  const first = await data((k) => k.fill(Number.NEGATIVE_INFINITY, 0, size));
  expect(first.subarray(0, size).every(Number.isNaN)).toBe(true);
  expect(first.subarray(size).every(Number.isFinite)).toBe(true);
});

const zeros = (...shape: number[]) => tensor(new Float32Array(sizeOf(shape)), shape);

test.each([
  ['ERR_SHAPE', /2 heads/, () => attention(zeros(1, 2, 3), zeros(1, 2, 3), zeros(1, 2, 3), { heads: 2 })],
  [
    'ERR_SHAPE',
    /k .* and v .* alike/,
    () => attention(zeros(1, 2, 4), zeros(1, 2, 4), zeros(1, 3, 4), { heads: 2 }),
  ],
  [
    'ERR_SHAPE',
    /q must be \[3 or 1/,
    () => attention(zeros(2, 2, 4), zeros(3, 2, 4), zeros(3, 2, 4), { heads: 2 }),
  ],
  [
    'ERR_SHAPE',
    /not be empty/,
    () => attention(zeros(1, 2, 4), zeros(1, 0, 4), zeros(1, 0, 4), { heads: 2 }),
  ],
  ['ERR_SHAPE', /multiple of 3 x 2/, () => selfAttention(zeros(1, 2, 9), { heads: 2 })],
  [
    'ERR_ARGUMENT',
    /queries must be 1 to 2, got 3/,
    () => selfAttention(zeros(1, 2, 6), { heads: 2, queries: 3 }),
  ],
])('rejects wrong operands: %s %s', (code, message, body) => {
  expect(body).toThrow(expect.objectContaining({ code, message: expect.stringMatching(message) }));
});

test('what one call leaves in memory does not reach the next', async () => {
  const op = native();
  const hasNaN = async (rows: number, value: number) => {
    const [qkv, dout] = [full([1, rows, 48], value), full([1, rows, 16], value)];
    const [out, logSum] = op.selfAttentionForward(qkv.handle, 1, rows, false);
    const dqkv = op.selfAttentionBackward(dout.handle, qkv.handle, out, logSum, 1, rows, false);
    return ((await new Tensor(dqkv).data()) as Float32Array).some(Number.isNaN);
  };
  expect(await hasNaN(16, Number.NaN)).toBe(true);
  // Fewer than the numbers of a vector.
  for (const rows of [1, 5, 9]) expect([rows, await hasNaN(rows, 0.5)]).toEqual([rows, false]);
});
