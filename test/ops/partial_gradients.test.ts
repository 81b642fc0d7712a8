import { memory } from '../../lib/native/device';
import {
  attention,
  concat,
  div,
  layerNorm,
  linear,
  matmul,
  maximum,
  mlp,
  mul,
  neg,
  patchEmbed,
  pow,
  randomNormal,
  square,
  sub,
  sum,
} from '../../lib/ops';
import { backward } from '../../lib/tensor/autograd';
import { scope } from '../../lib/tensor/scope';
import type { Tensor } from '../../lib/tensor/tensor';

// An operation saves what the derivatives by those inputs read that want a gradient: nothing else is held, and nothing else
// need stay as it is until backward.

type Operation = (...inputs: Tensor[]) => Tensor;
const quickGelu = { activation: 'quick_gelu' } as const;

const operations: [string, Operation, ...(readonly number[])[]][] = [
  ['sub', (a, b) => sub(a!, b!), [3, 4], [4]],
  ['mul', (a, b) => mul(a!, b!), [3, 4], [4]],
  ['div', (a, b) => div(a!, b!), [3, 4], [4]],
  ['pow', (a, b) => pow(square(a!), b!), [3, 4], [4]],
  ['maximum', (a, b) => maximum(a!, b!), [3, 4], [4]],
  ['matmul', (a, b) => matmul(a!, b!), [2, 3, 4], [4, 5]],
  ['matmul, transposed', (a, b) => matmul(a!, b!, { transposeA: true, transposeB: true }), [4, 3], [5, 4]],
  ['linear', (x, w, b, r) => linear(x!, w!, b, { residual: r }), [3, 4], [5, 4], [5], [3, 5]],
  [
    'linear, activated',
    (x, w, b, r) => linear(x!, w!, b, { ...quickGelu, residual: r }),
    [3, 4],
    [5, 4],
    [5],
    [3, 5],
  ],
  [
    'mlp',
    (x, w, b, v, c, r) => mlp(x!, { weight: w!, bias: b }, { weight: v!, bias: c }, { residual: r }),
    ...[[3, 4], [6, 4], [6], [5, 6], [5], [3, 5]],
  ],
  ['patchEmbed', (x, w, b) => patchEmbed(x!, w!, b), [2, 3, 4, 4], [5, 3, 2, 2], [5]],
  ['layerNorm', (x, w, b, r) => layerNorm(x!, w!, b!, { append: r }), [2, 3, 4], [4], [4], [2, 4]],
  ['attention', (q, k, v) => attention(q!, k!, v!, { heads: 2 }), [2, 3, 4], [2, 5, 4], [2, 5, 4]],
  ['concat', (a, b) => concat([a!, b!], 0), [2, 3], [1, 3]],
];

/** Gradients by the inputs in `wanted`; `changed` is changed in place before backward. */
async function gradients(
  operation: Operation,
  shapes: readonly (readonly number[])[],
  wanted: readonly boolean[],
  changed?: number,
): Promise<(number[] | undefined)[]> {
  const inputs = shapes.map((shape, i) => randomNormal(shape, { seed: 7, stream: i }));
  for (const [i, input] of inputs.entries()) input.requiresGrad = wanted[i]!;
  const y = scope(() => {
    const result = operation(...inputs);
    return sum(mul(result, randomNormal(result.shape, { seed: 8 })));
  });
  const input = changed === undefined ? undefined : inputs[changed]!;
  input?.assign(randomNormal(input.shape, { seed: 9 }));
  backward(y);
  return Promise.all(
    inputs.map(async ({ grad }) => grad && Array.from((await grad.data()) as Float32Array)),
  ).then((all) => all.map((grad) => grad ?? undefined));
}

test.each(operations)(
  '%s gives every set of its inputs the same gradients',
  async (_, operation, ...shapes) => {
    const all = await gradients(
      operation,
      shapes,
      shapes.map(() => true),
    );
    for (let set = 1; set < 1 << shapes.length; set++) {
      const wanted = shapes.map((_, i) => ((set >> i) & 1) === 1);
      const expected = all.map((grad, i) => (wanted[i] ? grad : undefined));
      expect(await gradients(operation, shapes, wanted)).toEqual(expected);
    }
  },
);

test.each(operations)(
  '%s refuses a change in place, or none comes of it',
  async (_, operation, ...shapes) => {
    for (let set = 1; set < 1 << shapes.length; set++) {
      const wanted = shapes.map((_, i) => ((set >> i) & 1) === 1);
      const expected = await gradients(operation, shapes, wanted);
      for (const changed of shapes.keys()) {
        const found = await gradients(operation, shapes, wanted, changed).catch((error: unknown) => error);
        if (found instanceof Error) expect(found).toMatchObject({ code: 'ERR_NO_GRADIENT' });
        else expect(found).toEqual(expected);
      }
    }
  },
);

test.each<[string, Operation, (readonly number[])[], number]>([
  [
    'the weight of a linear layer',
    (x, w) => linear(x!, w!),
    [
      [3, 4],
      [5, 4],
    ],
    1,
  ],
  [
    'the first weight of an mlp',
    (x, w, v) => mlp(x!, { weight: w! }, { weight: v! }),
    [
      [3, 4],
      [6, 4],
      [5, 6],
    ],
    1,
  ],
  [
    'a factor',
    (a, b) => matmul(a!, b!),
    [
      [3, 4],
      [4, 5],
    ],
    1,
  ],
  [
    'kernels of patches',
    (x, w) => patchEmbed(x!, w!),
    [
      [1, 1, 2, 2],
      [3, 1, 1, 1],
    ],
    1,
  ],
  ['what is negated', (x) => neg(x!), [[3]], 0],
])('%s may change before backward when it alone wants a gradient', async (_, operation, shapes, own) => {
  const wanted = shapes.map((_, i) => i === own);
  expect(await gradients(operation, shapes, wanted, own)).toEqual(await gradients(operation, shapes, wanted));
});

test('an mlp of frozen weights holds the slope of its activation and not the activation', () => {
  const [rows, width, hidden] = [256, 64, 1024];
  const held = (trained: boolean) =>
    scope(() => {
      const x = randomNormal([rows, width], { seed: 1 });
      x.requiresGrad = true;
      const [expand, contract] = [
        [hidden, width],
        [width, hidden],
      ].map((shape) => ({
        weight: randomNormal(shape, { seed: 2 }),
      }));
      contract!.weight.requiresGrad = trained;
      const before = memory(x.device).liveBytes;
      const y = mlp(x, expand!, contract!);
      const after = memory(x.device).liveBytes;
      backward(sum(y));
      return after - before;
    });
  expect(held(true) - held(false)).toBe(4 * rows * hidden);
});
