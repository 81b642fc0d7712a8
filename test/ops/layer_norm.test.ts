import { add, mul } from '../../lib/ops/binary';
import { layerNorm } from '../../lib/ops/layer_norm';
import { scope } from '../../lib/tensor/scope';
import { tensor } from '../../lib/tensor/tensor';
import { checkOp } from '../support/check_op';
import { type Dense, dense } from '../support/dense';

const eps = 1e-5;

function reference([x, weight, bias, append]: Dense[]): Dense {
  const dim = x!.shape[x!.shape.length - 1]!;
  const rows: Float64Array[] = [];
  const row = (source: Dense, i: number) => source.data.subarray(i * dim, (i + 1) * dim);
  const length = append ? x!.shape[1]! : 1;
  for (let i = 0; i < x!.data.length / dim; i++) {
    rows.push(row(x!, i));
    if (append && i % length === length - 1) rows.push(row(append, Math.floor(i / length)));
  }
  const shape = [...x!.shape];
  if (append) shape[1]! += 1;
  const y = dense(shape);
  rows.forEach((values, r) => {
    const mean = values.reduce((a, b) => a + b, 0) / dim;
    const variance = values.reduce((a, b) => a + (b - mean) ** 2, 0) / dim;
    values.forEach((v, i) => {
      y.data[r * dim + i] = ((v - mean) / Math.sqrt(variance + eps)) * weight!.data[i]! + bias!.data[i]!;
    });
  });
  return y;
}

const parameter = (dim: number) => ({ shape: [dim], dtype: 'float32' as const });

checkOp({
  run: ([x, weight, bias, append]) => layerNorm(x!, weight!, bias!, { append }),
  reference,
  cases: [
    { name: 'rows', inputs: [[3, 8], parameter(8), parameter(8)] },
    { name: 'odd sizes', inputs: [[2, 3, 7], parameter(7), parameter(7)] },
    { name: 'more rows than one block', inputs: [[150, 33], parameter(33), parameter(33)] },
    { name: 'one row per sequence appended', inputs: [[3, 4, 16], parameter(16), parameter(16), [3, 16]] },
    { name: 'no rows', inputs: [[0, 5], parameter(5), parameter(5)] },
  ],
});

// The gradient that the residual has left at x by then is added within the derivative of the norm.
checkOp({
  run: ([input, weight, bias]) =>
    scope(() => {
      const x = mul(input!, 3);
      return add(layerNorm(x, weight!, bias!), x);
    }),
  reference: ([input, weight, bias]) => {
    const x = { shape: input!.shape, data: input!.data.map((value) => 3 * value) };
    const y = reference([x, weight!, bias!]);
    return { shape: y.shape, data: y.data.map((value, i) => value + x.data[i]!) };
  },
  cases: [{ name: 'beside a residual', inputs: [[5, 24], parameter(24), parameter(24)] }],
});

test('rejects parameters of another width, naming both', () => {
  const x = tensor(new Float32Array(6), [2, 3]);
  const wide = tensor(new Float32Array(4));
  expect(() => layerNorm(x, wide, wide)).toThrow(expect.objectContaining({ code: 'ERR_SHAPE' }));
  expect(() => layerNorm(x, wide, wide)).toThrow(/float32\[2, 3\].*float32\[4\]/);
});
