import { memory } from '../../lib/native/device';
import {
  attention,
  concat,
  div,
  exp,
  l2Normalize,
  layerNorm,
  linear,
  matmul,
  max,
  maximum,
  mlp,
  mul,
  neg,
  patchEmbed,
  pow,
  randomNormal,
  softmax,
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
/** Letters of the inputs with their shapes. */
type Inputs = Readonly<Record<string, readonly number[]>>;
/** For the letter of an input those of the inputs that the derivative by it reads. */
type Reads = Readonly<Record<string, string>>;

const operations: [string, Operation, Inputs, Reads][] = [
  ['neg', (a) => neg(a!), { a: [5] }, {}],
  ['square', (a) => square(a!), { a: [5] }, { a: 'a' }],
  ['exp', (a) => exp(a!), { a: [5] }, {}],
  ['softmax', (a) => softmax(a!), { a: [2, 5] }, {}],
  ['l2Normalize', (a) => l2Normalize(a!), { a: [2, 5] }, { a: 'a' }],
  ['max', (a) => max(a!, 1), { a: [2, 5] }, { a: 'a' }],
  ['sub', (a, b) => sub(a!, b!), { a: [3, 4], b: [4] }, {}],
  ['mul', (a, b) => mul(a!, b!), { a: [3, 4], b: [4] }, { a: 'b', b: 'a' }],
  ['div', (a, b) => div(a!, b!), { a: [3, 4], b: [4] }, { a: 'b', b: 'b' }],
  ['pow', (a, b) => pow(square(a!), b!), { a: [3, 4], b: [4] }, { a: 'ab' }],
  ['maximum', (a, b) => maximum(a!, b!), { a: [3, 4], b: [4] }, { a: 'ab', b: 'ab' }],
  ['matmul', (a, b) => matmul(a!, b!), { a: [2, 3, 4], b: [4, 5] }, { a: 'b', b: 'a' }],
  [
    'matmul, transposed',
    (a, b) => matmul(a!, b!, { transposeA: true, transposeB: true }),
    { a: [4, 3], b: [5, 4] },
    { a: 'b', b: 'a' },
  ],
  [
    'linear',
    (x, w, b, r) => linear(x!, w!, b, { residual: r }),
    { x: [3, 4], w: [5, 4], b: [5], r: [3, 5] },
    { x: 'w', w: 'x' },
  ],
  [
    'linear, activated',
    (x, w, b, r) => linear(x!, w!, b, { activation: 'quick_gelu', residual: r }),
    { x: [3, 4], w: [5, 4], b: [5], r: [3, 5] },
    { x: 'w', w: 'x' },
  ],
  [
    'mlp',
    (x, w, b, v, c, r) => mlp(x!, { weight: w!, bias: b }, { weight: v!, bias: c }, { residual: r }),
    { x: [3, 4], w: [6, 4], b: [6], v: [5, 6], c: [5], r: [3, 5] },
    { x: 'wv', w: 'xv', b: 'v' },
  ],
  [
    'patchEmbed',
    (x, w, b) => patchEmbed(x!, w!, b),
    { x: [2, 3, 4, 4], w: [5, 3, 2, 2], b: [5] },
    { x: 'w', w: 'x' },
  ],
  [
    'layerNorm',
    (x, w, b, r) => layerNorm(x!, w!, b!, { append: r }),
    { x: [2, 3, 4], w: [4], b: [4], r: [2, 4] },
    { x: 'xwr', w: 'xwr', b: 'xwr', r: 'xwr' }, // one kernel makes all gradients
  ],
  [
    'attention',
    (q, k, v) => attention(q!, k!, v!, { heads: 2 }),
    { q: [2, 3, 4], k: [2, 5, 4], v: [2, 5, 4] },
    { q: 'qkv', k: 'qkv', v: 'qkv' }, // likewise
  ],
  ['concat', (a, b) => concat([a!, b!], 0), { a: [2, 3], b: [1, 3] }, {}],
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

test.each(operations)('%s gives every set of its inputs the same gradients', async (_, operation, inputs) => {
  const shapes = Object.values(inputs);
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
});

test.each(operations)(
  '%s refuses a change in place of what its derivatives read, and nothing comes of any other',
  async (_, operation, inputs, reads) => {
    const [letters, shapes] = [Object.keys(inputs), Object.values(inputs)];
    for (let set = 1; set < 1 << shapes.length; set++) {
      const wanted = shapes.map((_, i) => ((set >> i) & 1) === 1);
      const expected = await gradients(operation, shapes, wanted);
      const read = letters.map((letter, i) => (wanted[i] && reads[letter]) || '').join('');
      for (const [i, letter] of letters.entries()) {
        const found = gradients(operation, shapes, wanted, i);
        if (read.includes(letter)) await expect(found).rejects.toMatchObject({ code: 'ERR_NO_GRADIENT' });
        else expect(await found).toEqual(expected);
      }
    }
  },
);

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
