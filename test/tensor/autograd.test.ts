import { memory } from '../../lib/native/device';
import { native } from '../../lib/native/load';
import {
  add,
  argmax,
  div,
  exp,
  full,
  gatherRows,
  linear,
  mul,
  ones,
  patchEmbed,
  reshape,
  scaleInPlace,
  square,
  sum,
} from '../../lib/ops';
import { backward, checkpoint, noGrad, unaryOutput } from '../../lib/tensor/autograd';
import { scope } from '../../lib/tensor/scope';
import { Tensor, tensor } from '../../lib/tensor/tensor';

const live = () => memory().liveTensors;
const leaf = (values: number[]) => tensor(values, undefined, { requiresGrad: true });

test('a value used twice receives the sum of both gradients', async () => {
  const x = leaf([2, 3]);
  const loss = scope(() => sum(add(mul(x, x), x))); // d = 2x + 1
  backward(loss);
  expect(await x.grad!.toArray()).toEqual([5, 7]);
});

test('gradients add up over backward calls, and sharing a gradient never corrupts another', async () => {
  const x = leaf([1, 1]);
  const y = leaf([1, 1]);
  for (let i = 0; i < 3; i++) backward(scope(() => sum(add(x, y))));
  backward(scope(() => sum(mul(x, 10))));
  expect(await x.grad!.toArray()).toEqual([13, 13]);
  expect(await y.grad!.toArray()).toEqual([3, 3]);
});

test('inputs may be disposed before backward: the tape holds what it needs', async () => {
  const x = leaf([2]);
  const y = mul(x, x);
  const z = mul(y, y);
  y.dispose();
  backward(z);
  expect(await x.grad!.toArray()).toEqual([32]);
});

test('nothing is left behind by forward, backward and dispose', () => {
  const before = live();
  const x = leaf([1, 2]);
  const loss = scope(() => sum(square(mul(x, 3))));
  backward(loss);
  expect(live()).toBe(before + 3); // x, its gradient, the loss
  loss.dispose();
  x.dispose();
  expect(live()).toBe(before);
});

test('nothing is left behind by a backward pass that fails', () => {
  const before = live();
  const x = leaf([1, 2]);
  const broken = (y: Tensor) =>
    unaryOutput(
      'broken',
      [y],
      () => native().retain(y.handle),
      () => {
        throw new Error('of the derivative');
      },
    );
  const loss = scope(() => sum(broken(square(mul(x, 3)))));
  expect(() => backward(loss)).toThrow('of the derivative');
  loss.dispose();
  x.dispose();
  expect(live()).toBe(before);
});

test('noGrad records nothing, also when the body throws', () => {
  const x = leaf([1]);
  expect(noGrad(() => mul(x, x)).requiresGrad).toBe(false);
  expect(() =>
    noGrad(() => {
      throw new Error('inside');
    }),
  ).toThrow('inside');
  expect(mul(x, x).requiresGrad).toBe(true);
  expect(() => noGrad(async () => 1)).toThrow(expect.objectContaining({ code: 'ERR_ARGUMENT' }));
});

test('a frozen leaf gets no gradient', () => {
  const x = leaf([1]);
  const frozen = tensor([2]);
  backward(mul(x, frozen));
  expect(frozen.grad).toBeNull();
  expect(x.grad).not.toBeNull();
});

test.each<[string, (x: Tensor) => void, string]>([
  ['a tensor without history', (x) => backward(x.detach()), 'ERR_NO_GRADIENT'],
  ['a tensor that is not a scalar', (x) => backward(mul(x, 2)), 'ERR_SHAPE'],
  ['a gradient of another shape', (x) => backward(mul(x, 2), tensor([1])), 'ERR_SHAPE'],
  [
    'the same graph twice',
    (x) => {
      const loss = sum(mul(x, x));
      backward(loss);
      backward(loss);
    },
    'ERR_NO_GRADIENT',
  ],
  ['an operation without a derivative', (x) => backward(argmax(x, 0)), 'ERR_NO_GRADIENT'],
])('refuses %s', (_, run, code) => {
  const x = leaf([1, 2]);
  expect(() => run(x)).toThrow(expect.objectContaining({ code }));
});

test.each<[string, (w: Tensor) => Tensor, (w: Tensor, y: Tensor) => void]>([
  ['an input', square, (w) => w.assign(tensor([5, 6]))],
  ['an input, by another handle', square, (w) => w.detach().assign(tensor([5, 6]))],
  ['an input, in another shape', square, (w) => noGrad(() => reshape(w, [2, 1])).assign(tensor([[5], [6]]))],
  ['an input, scaled', square, (w) => scaleInPlace([w], 2)],
  ['a result', exp, (_, y) => y.detach().assign(tensor([5, 6]))],
  [
    'a master weight',
    (w) => linear(ones([1, 2], { dtype: 'bfloat16', requiresGrad: true }), reshape(w, [1, 2])),
    (w) => w.assign(tensor([5, 6])),
  ],
  [
    'kernels of patches',
    (w) => patchEmbed(ones([1, 1, 1, 1], { requiresGrad: true }), reshape(w, [2, 1, 1, 1])),
    (w) => w.assign(tensor([5, 6])),
  ],
])('%s that a derivative needs must not change in place before backward', (_, forward, change) => {
  const w = tensor([1, 2], [2], { requiresGrad: true });
  const y = forward(w);
  change(w, y);
  const error = { code: 'ERR_NO_GRADIENT', message: expect.stringContaining('was changed in place') };
  expect(() => backward(y, full(y.shape, 1, { dtype: y.dtype }))).toThrow(expect.objectContaining(error));
  expect(w.grad).toBeNull();
});

test.each<[string, (w: Tensor) => Tensor, number[]]>([
  ['of a sum', (w) => add(w, 1), [1, 1]],
  ['of a product with a number', (w) => mul(w, 3), [3, 3]],
  ['of a quotient by a number', (w) => div(w, 2), [0.5, 0.5]],
])('an operand %s may change in place before backward, and is not held', async (_, forward, gradient) => {
  const w = tensor([1, 2], [2], { requiresGrad: true });
  const y = sum(forward(w));
  w.assign(tensor([5, 6]));
  backward(y);
  expect(await w.grad!.toArray()).toEqual(gradient);
});

test('a cached cast follows changes through another handle', async () => {
  const w = tensor([1, 2]);
  w.castCached('bfloat16');
  w.detach().assign(tensor([5, 6]));
  reshape(w, [2, 1]).assign(tensor([[7], [8]]));
  expect(await w.castCached('bfloat16').toArray()).toEqual([7, 8]);
});

test('a derivative may take over what its input has received so far, and then stands for both', async () => {
  const seen: (number[] | null)[] = [];
  const reads: Promise<unknown>[] = [];
  // y = x, whose derivative adds up itself.
  const identity = (x: Tensor) =>
    unaryOutput(
      'identity',
      [x],
      () => native().retain(x.handle),
      ([dy], _, { take }) => {
        const before = take(0);
        expect(take(0)).toBeNull();
        if (before) {
          const copy = new Tensor(native().retain(before));
          reads.push(
            copy.toArray().then((values) => {
              seen.push(values as number[]);
              copy.dispose();
            }),
          );
        } else {
          seen.push(null);
        }
        return [before ? native().add(before, dy!) : native().retain(dy!)];
      },
    );
  const start = live();
  const x = leaf([1, 2]);
  const loss = scope(() => {
    const y = mul(x, 10);
    return sum(add(identity(y), mul(y, 3)));
  });
  backward(loss);
  await Promise.all(reads);
  expect(seen).toEqual([[3, 3]]);
  expect(await x.grad!.toArray()).toEqual([40, 40]);
  const again = scope(() => sum(identity(x)));
  backward(again);
  expect(seen).toEqual([[3, 3], null]);
  expect(await x.grad!.toArray()).toEqual([41, 41]);
  for (const used of [x, loss, again]) used.dispose();
  expect(live()).toBe(start);
});

test('checkpoint gives the same gradients and holds fewer tensors meanwhile', async () => {
  const body = (w: Tensor) => (x: Tensor) => scope(() => square(mul(square(mul(x, w)), w)));
  const run = async (wrap: boolean) => {
    const x = leaf([0.5, -1.5]);
    const w = leaf([1.25, 0.75]);
    const f = body(w);
    const loss = scope(() => sum(wrap ? checkpoint(f, x) : f(x)));
    const held = live();
    backward(loss);
    return { held, gradients: [await x.grad!.toArray(), await w.grad!.toArray()] };
  };
  const start = live();
  const plain = await run(false);
  const middle = live();
  const saved = await run(true);
  expect(saved.gradients).toEqual(plain.gradients);
  expect(saved.held - middle).toBeLessThan(plain.held - start);
});

test('a scope whose body is asynchronous is refused, and leaves nothing', async () => {
  const before = live();
  const unhandled = jest.fn();
  process.on('unhandledRejection', unhandled);
  const body = async () => {
    const x = add(tensor([1]), 2);
    await null;
    return x.data();
  };
  expect(() => scope(body)).toThrow(
    expect.objectContaining({ code: 'ERR_ARGUMENT', message: expect.stringContaining('a scope must be') }),
  );
  expect(live()).toBe(before);
  await new Promise((resolve) => setTimeout(resolve, 20));
  process.off('unhandledRejection', unhandled);
  expect(unhandled).not.toHaveBeenCalled();
});

test('a checkpointed body may return what it was given', async () => {
  const x = leaf([2, 3]);
  const y = checkpoint((input) => input, x);
  expect(x.disposed).toBe(false);
  backward(scope(() => sum(y)));
  expect(await x.grad!.toArray()).toEqual([1, 1]);
});

test('each leaf is told once, when nothing more will be added to its gradient', async () => {
  const [x, w, v, unused] = [leaf([2]), leaf([3]), leaf([5]), leaf([7])];
  const told: [string, number][] = [];
  const names = new Map([
    [x, 'x'],
    [w, 'w'],
    [v, 'v'],
    [unused, 'unused'],
  ]);
  const reads: Promise<unknown>[] = [];
  // w is used inside two recomputed segments and between them; v in the second only.
  const loss = scope(() => {
    const first = checkpoint((input) => mul(input, w), x);
    const between = mul(first, w);
    return sum(checkpoint((input) => mul(add(input, v), w), between));
  });
  backward(loss, undefined, (found) => {
    // What is read here is all that was added until now.
    reads.push(found.grad!.item().then((value) => told.push([names.get(found)!, value])));
  });
  await Promise.all(reads);
  // loss = (x w^2 + v) w
  expect(told).toEqual([
    ['v', 3],
    ['x', 27],
    ['w', 3 * 2 * 9 + 5],
  ]);
});

test('a leaf outside of a segment within another is told once, too', async () => {
  const [x, w, v] = [leaf([2]), leaf([3]), leaf([5])];
  const told: [Tensor, number][] = [];
  const reads: Promise<unknown>[] = [];
  const loss = scope(() => {
    const nested = checkpoint(
      (input) =>
        mul(
          checkpoint((inner) => mul(inner, w), input),
          v,
        ),
      x,
    );
    return sum(mul(nested, v));
  });
  backward(loss, undefined, (found) => {
    reads.push(found.grad!.item().then((value) => told.push([found, value])));
  });
  await Promise.all(reads);
  // loss = x w v^2
  expect(new Map(told)).toEqual(
    new Map([
      [x, 75],
      [w, 50],
      [v, 60],
    ]),
  );
  expect(told).toHaveLength(3);
});

test('a segment that depends on nothing to be learnt passes no gradient on', async () => {
  const [frozen, w] = [tensor([2]), leaf([3])];
  backward(
    scope(() =>
      sum(
        add(
          checkpoint((input) => mul(input, 2), frozen),
          w,
        ),
      ),
    ),
  );
  expect([frozen.grad, await w.grad!.toArray()]).toEqual([null, [1]]);
});

test('checkpoint reaches leaves inside its body though no input needs a gradient', async () => {
  const x = tensor([2, 3]);
  const w = leaf([5, 7]);
  backward(scope(() => sum(checkpoint((input) => mul(input, w), x))));
  expect(await w.grad!.toArray()).toEqual([2, 3]);
});

test('a failure inside the queue rejects the next read, naming op and operands, and only that one', async () => {
  const x = tensor([[[1], [2]]]);
  const wrong = gatherRows(x, tensor(Int32Array.of(5)));
  await expect(wrong.data()).rejects.toMatchObject({ code: 'ERR_INDEX_RANGE' });
  const right = gatherRows(x, tensor(Int32Array.of(1)));
  expect(await right.toArray()).toEqual([[2]]);
  const again = gatherRows(x, tensor(Int32Array.of(-1)));
  await expect(again.data()).rejects.toThrow(/gather.*float32\[1, 2, 1\]/);
});

test('the event loop keeps turning while a long computation runs', async () => {
  const x = tensor(new Float32Array(1 << 22).fill(1.0001));
  let turns = 0;
  const timer = setInterval(() => turns++, 5);
  const result = scope(() => {
    let y = mul(x, 1);
    for (let i = 0; i < 60; i++) y = scope(() => mul(y, x));
    return y;
  });
  const start = performance.now();
  await result.data();
  const waited = performance.now() - start;
  clearInterval(timer);
  expect(waited).toBeGreaterThan(20);
  expect(turns).toBeGreaterThan(2);
});
