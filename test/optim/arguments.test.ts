import { Initializer, LayerNorm, Linear, MultiheadAttention } from '../../lib/nn';
import { dropPath, l2Normalize, layerNorm, ones, randomNormal, zeros } from '../../lib/ops';
import { AdamW, CosineSchedule, clipGradNorm, LossScaler } from '../../lib/optim';
import { type Tensor, tensor } from '../../lib/tensor/tensor';

const p: Tensor = tensor([1], [1], { requiresGrad: true });
const init = new Initializer();
const x = ones([2, 4]);
const adamw = (group: object, options: object = {}) =>
  new AdamW([{ params: [['p', p]], lr: 1, ...group }], options);
const cosine = (options: object) => new CosineSchedule(adamw({}), { totalSteps: 10, ...options });

// What no hyperparameter is; each message names its own.
const wrong = [Number.NaN, -1, Number.NEGATIVE_INFINITY];
const refused: [string, (value: number) => unknown, RegExp, number[]?][] = [
  ['lr', (lr) => adamw({ lr }), /group 0: lr/, [Number.POSITIVE_INFINITY]],
  [
    'weightDecay',
    (weightDecay) => adamw({ weightDecay }),
    /group 0: weightDecay/,
    [Number.POSITIVE_INFINITY],
  ],
  ['lrScale', (lrScale) => adamw({ lrScale }), /group 0: lrScale/, [Number.POSITIVE_INFINITY]],
  ['beta1', (beta) => adamw({}, { betas: [beta, 0.9] }), /betas\[0\]/, [1]],
  ['beta2', (beta) => adamw({}, { betas: [0.9, beta] }), /betas\[1\]/, [1]],
  ['eps', (eps) => adamw({}, { eps }), /eps/, [Number.POSITIVE_INFINITY]],
  ['totalSteps', (totalSteps) => cosine({ totalSteps }), /totalSteps/, [0, Number.POSITIVE_INFINITY]],
  ['warmupSteps', (warmupSteps) => cosine({ warmupSteps }), /warmupSteps/, [Number.POSITIVE_INFINITY]],
  ['minLr', (minLr) => cosine({ minLr }), /minLr/, [Number.POSITIVE_INFINITY]],
  ['maxNorm', (maxNorm) => clipGradNorm([p], maxNorm), /maxNorm/, [0]],
  ['scale', (scale) => new LossScaler({ scale }), /scale/, [0, 3, 2 ** 128, Number.POSITIVE_INFINITY]],
  ['growthInterval', (growthInterval) => new LossScaler({ growthInterval }), /growthInterval/, [0, 0.5]],
  ['heads', (heads) => new MultiheadAttention(8, heads, init), /heads/, [0, 3]],
  ['seed', (seed) => new Linear(2, 2, new Initializer({ seed })), /seed/, [0.5]],
  ['deviation', (std) => randomNormal([2], { seed: 1, std }), /deviation/],
  ['rate', (rate) => dropPath(x, { rate, seed: 1, stream: 0, samples: 2 }), /rate/, [1]],
  ['eps of layerNorm', (eps) => layerNorm(x, ones([4]), zeros([4]), { eps }), /eps/],
  ['eps of l2Normalize', (eps) => l2Normalize(x, { eps }), /eps/],
];

test.each(refused)('%s', (_, make, message, more = []) => {
  for (const value of [...wrong, ...more]) {
    expect(() => make(value)).toThrow(
      expect.objectContaining({ code: 'ERR_ARGUMENT', message: expect.stringMatching(message) }),
    );
  }
});

test.each([-1, Number.NaN, 1.5])('layers of %d', (width) => {
  for (const make of [() => new Linear(width, 2, init), () => new LayerNorm(width, init)]) {
    expect(make).toThrow(expect.objectContaining({ code: expect.stringMatching(/^ERR_(ARGUMENT|SHAPE)$/) }));
  }
});

test('a learning rate that was set to no number changes nothing', async () => {
  const optimizer = adamw({ lr: 0.1 });
  p.grad = tensor([1]);
  optimizer.groups[0]!.lr = Number.NaN;
  expect(() => optimizer.step()).toThrow(expect.objectContaining({ code: 'ERR_ARGUMENT' }));
  expect(await p.toArray()).toEqual([1]);
  optimizer.groups[0]!.lr = 0.1;
  optimizer.step();
  expect(await p.toArray()).toEqual([expect.closeTo(0.9, 6)]);
});
