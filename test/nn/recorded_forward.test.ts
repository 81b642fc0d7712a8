import { CodedError } from '../../lib/base/error';
import * as device from '../../lib/native/device';
import { defaultDevice, memory, setProfiling, synchronize, takeProfile } from '../../lib/native/device';
import { RecordedForward } from '../../lib/nn/recorded_forward';
import { add, cast, linear, mean, randomNormal, softmax } from '../../lib/ops';
import { backward, noGrad } from '../../lib/tensor/autograd';
import { captureGraph, isCapturing } from '../../lib/tensor/graph';
import { scope } from '../../lib/tensor/scope';
import { type Tensor, tensor } from '../../lib/tensor/tensor';

// On the CPU the function runs as it is; on CUDA it is replayed from the second time on that a shape comes.
const onCuda = defaultDevice() === 'cuda';
const random = (shape: number[], stream: number) => randomNormal(shape, { seed: 11, stream });

let weight: Tensor;
let bias: Tensor;
beforeEach(() => {
  weight = random([8, 16], 1);
  bias = random([8], 2);
});
afterEach(() => {
  weight.dispose();
  bias.dispose();
});

const body = (x: Tensor) =>
  scope(() => {
    const hidden = linear(x, weight.castCached('bfloat16'), bias, { activation: 'quick_gelu' });
    return { scores: softmax(hidden), shifted: add(hidden, tensor([0.5])) };
  });
const parameters = () => [weight, bias];
const bfloat16 = (shape: number[], stream: number) =>
  scope(() => random(shape, stream).castCached('bfloat16').detach());

async function bits({ scores, shifted }: { scores: Tensor; shifted: Tensor }) {
  const values = [await scores.data(), await shifted.data()];
  scores.dispose();
  shifted.dispose();
  return values;
}

/** How often recorded work was queued meanwhile. */
async function replays(work: () => Promise<void>): Promise<number> {
  setProfiling(true);
  takeProfile();
  await work();
  await synchronize();
  setProfiling(false);
  return takeProfile().find(({ op }) => op === 'replay')?.calls ?? 0;
}

test('values are those of the function, whatever the input and the weights have become', async () => {
  await synchronize();
  const before = memory().liveTensors;
  const recorded = new RecordedForward(body, parameters);
  const inputs = [0, 1, 2, 3, 4].map((i) => bfloat16([3, 16], 20 + i));
  const count = await replays(async () => {
    const kept = [];
    for (const [i, x] of inputs.entries()) {
      // Changed weights, and with them the copy in 16 bits that the recorded work reads.
      if (i >= 3) scope(() => weight.assign(random([8, 16], 30 + i)));
      kept.push({ own: noGrad(() => recorded.run(x)), plain: noGrad(() => body(x)) });
    }
    for (const { own, plain } of kept) expect(await bits(own)).toEqual(await bits(plain));
  });
  expect(count).toBe(onCuda ? 4 : 0);
  recorded.dispose();
  recorded.dispose();
  for (const x of inputs) x.dispose();
  weight.dispose(); // and its copy
  await synchronize();
  expect(memory().liveTensors).toBeLessThan(before);
});

test('of many shapes the last four are kept, in one memory', async () => {
  const recorded = new RecordedForward(body, parameters);
  const sizes = [1, 2, 3, 4, 5, 6];
  const inputs = new Map(sizes.map((rows) => [rows, bfloat16([rows, 16], rows)]));
  const once = async (rows: number) => {
    const x = inputs.get(rows)!;
    expect(await bits(recorded.run(x))).toEqual(await bits(body(x)));
  };
  const count = await replays(async () => {
    for (const rows of sizes) for (let i = 0; i < 3; i++) await once(rows); // two replays each
    for (const rows of [6, 5, 4, 3]) await once(rows); // one each
    for (let i = 0; i < 3; i++) await once(1); // was dropped: as if for the first time
    await once(3); // it was not the one to make room, though it is the oldest
    recorded.dispose();
    await once(3); // for the first time
  });
  expect(count).toBe(onCuda ? 6 * 2 + 4 + 2 + 1 : 0);
  recorded.dispose();
  for (const x of inputs.values()) x.dispose();
});

test('recordings take their memory once', async () => {
  const recorded = new RecordedForward(
    (x: Tensor) => scope(() => ({ scores: softmax(add(add(x, tensor([1])), x)) })),
    () => [],
  );
  const beside: number[] = [];
  for (const rows of [1024, 1023]) {
    const x = random([rows, 1024], 3);
    for (let i = 0; i < 2; i++) {
      const { scores } = recorded.run(x);
      await scores.data();
      scores.dispose();
    }
    x.dispose();
    await synchronize();
    device.emptyCache();
    const { reservedBytes, liveBytes } = memory();
    beside.push(reservedBytes - liveBytes);
  }
  // Less than an intermediate result.
  if (onCuda) expect(beside[1]! - beside[0]!).toBeLessThan(4 * 1023 * 1024);
  recorded.dispose();
});

test('of shapes that came once, a bounded number is remembered', async () => {
  const recorded = new RecordedForward(
    (x: Tensor) => ({ sum: add(x, x) }),
    () => [],
  );
  const once = async (size: number) => {
    const x = random([size], size);
    const { sum } = recorded.run(x);
    await sum.data();
    for (const one of [x, sum]) one.dispose();
  };
  const count = await replays(async () => {
    for (let size = 1; size <= 65; size++) await once(size);
    await once(65); // the second time
    await once(1); // as if for the first
  });
  expect(count).toBe(onCuda ? 1 : 0);
  recorded.dispose();
});

test('what was recorded with another precision of float32 is not replayed', async () => {
  const recorded = new RecordedForward((x: Tensor) => ({ product: linear(x, weight) }), parameters);
  const x = random([4, 16], 3);
  const before = device.float32MatmulPrecision();
  const count = await replays(async () => {
    for (const precision of ['highest', 'high'] as const) {
      device.setFloat32MatmulPrecision(precision);
      for (let i = 0; i < 3; i++) {
        const [own, plain] = [recorded.run(x).product, linear(x, weight)];
        expect(await own.data()).toEqual(await plain.data());
        for (const one of [own, plain]) one.dispose();
      }
    }
  });
  device.setFloat32MatmulPrecision(before);
  expect(count).toBe(onCuda ? 2 * 2 : 0);
  recorded.dispose();
  x.dispose();
});

test('of several inputs each is copied in, and their shapes together say what is replayed', async () => {
  const recorded = new RecordedForward(
    (x: Tensor, y: Tensor) => scope(() => ({ sum: add(linear(x, weight), y) })),
    () => [weight],
  );
  const count = await replays(async () => {
    for (let i = 0; i < 6; i++) {
      const x = random([4, 16], 40 + i);
      const y = random(i % 2 ? [4, 8] : [8], 50 + i);
      const sums = [recorded.run(x, y).sum, scope(() => add(linear(x, weight), y))];
      const [own, plain] = await Promise.all(sums.map((sum) => sum.data()));
      expect(own).toEqual(plain);
      for (const one of [x, y, ...sums]) one.dispose();
    }
  });
  expect(count).toBe(onCuda ? 2 * 2 : 0);
  recorded.dispose();
});

test('where a gradient is wanted, and inside another recording, the function runs as it is', async () => {
  const recorded = new RecordedForward(body, parameters);
  const x = bfloat16([2, 16], 3);
  bias.requiresGrad = true;
  const count = await replays(async () => {
    for (let i = 0; i < 3; i++) {
      const results = recorded.run(x);
      scope(() => backward(mean(results.scores.dtype === 'float32' ? results.scores : results.shifted)));
      expect(bias.grad).not.toBeNull();
      bias.grad!.dispose();
      bias.grad = null;
      await bits(results);
    }
  });
  expect(count).toBe(0);
  bias.requiresGrad = false;
  if (onCuda) {
    for (let i = 0; i < 2; i++) await bits(recorded.run(x));
    const graph = await captureGraph(() => recorded.run(x));
    const plain = body(x);
    expect(await graph.replay().scores.data()).toEqual(await plain.scores.data());
    await bits(plain);
    graph.dispose();
  }
  recorded.dispose();
  x.dispose();
});

test('what cannot be recorded goes on as it is, with one warning', async () => {
  const warnings: unknown[] = [];
  const emit = jest.spyOn(process, 'emitWarning').mockImplementation((...all) => void warnings.push(all));
  const recorded = new RecordedForward((x: Tensor) => {
    const results = body(x);
    if (isCapturing()) throw new CodedError('ERR_OUT_OF_MEMORY', 'planted');
    return results;
  }, parameters);
  const x = bfloat16([2, 16], 3);
  await bits(body(x)); // and the cached copy of the weight
  const before = memory().liveTensors;
  for (let i = 0; i < 4; i++) {
    if (i === 1) scope(() => weight.assign(random([8, 16], 30))); // what is recorded of a copy never runs
    expect(await bits(recorded.run(x))).toEqual(await bits(body(x)));
  }
  const copy = cast(weight, 'bfloat16');
  expect(await weight.castCached('bfloat16').data()).toEqual(await copy.data());
  copy.dispose();
  expect(memory().liveTensors).toBe(before);
  emit.mockRestore();
  const expected = [expect.stringContaining('planted'), { code: 'CUDA_GRAPH_REFUSED' }];
  expect(warnings).toEqual(onCuda ? [expected] : []);
  const broken = new RecordedForward((x: Tensor) => {
    if (isCapturing()) throw new Error('of the function');
    return body(x);
  }, parameters);
  await bits(broken.run(x));
  if (onCuda) expect(() => broken.run(x)).toThrow('of the function');
  expect(isCapturing()).toBe(false);
  x.dispose();
});

test('a recording that finds no memory beside what the pass before left in the cache gets that', async () => {
  const warnings: unknown[] = [];
  const emit = jest.spyOn(process, 'emitWarning').mockImplementation((...all) => void warnings.push(all));
  const clear = jest.spyOn(device, 'emptyCache');
  let attempts = 0;
  const recorded = new RecordedForward((x: Tensor) => {
    const results = body(x);
    if (isCapturing() && ++attempts === 1) throw new CodedError('ERR_OUT_OF_MEMORY', 'planted');
    return results;
  }, parameters);
  const x = bfloat16([2, 16], 3);
  await bits(body(x)); // and the cached copy of the weight
  const before = memory().liveTensors;
  const count = await replays(async () => {
    for (let i = 0; i < 4; i++) expect(await bits(recorded.run(x))).toEqual(await bits(body(x)));
  });
  expect([count, attempts, clear.mock.calls.length]).toEqual(onCuda ? [3, 2, 1] : [0, 0, 0]);
  expect(warnings).toEqual([]);
  emit.mockRestore();
  clear.mockRestore();
  recorded.dispose();
  expect(memory().liveTensors).toBe(before);
  x.dispose();
});

test('a pass that runs out of memory beside recordings gets theirs, with one warning', async () => {
  const warnings: unknown[] = [];
  const emit = jest.spyOn(process, 'emitWarning').mockImplementation((...all) => void warnings.push(all));
  const clear = jest.spyOn(device, 'emptyCache');
  let large = false;
  const recorded = new RecordedForward((x: Tensor) => {
    if (large && device.memory().liveTensors > before) throw new CodedError('ERR_OUT_OF_MEMORY', 'planted');
    return body(x);
  }, parameters);
  const [x, y] = [bfloat16([2, 16], 3), bfloat16([4, 16], 4)];
  await bits(body(x)); // and the cached copy of the weight
  const before = device.memory().liveTensors;
  const count = await replays(async () => {
    for (let i = 0; i < 3; i++) await bits(recorded.run(x));
    large = onCuda; // the recording holds its input and results
    for (const one of [y, y, x]) expect(await bits(recorded.run(one))).toEqual(await bits(body(one)));
  });
  emit.mockRestore();
  expect([count, clear.mock.calls.length]).toEqual(onCuda ? [2, 1] : [0, 0]);
  clear.mockRestore();
  const expected = [expect.stringContaining('planted'), { code: 'CUDA_GRAPH_GIVEN_UP' }];
  expect(warnings).toEqual(onCuda ? [expected] : []);
  recorded.dispose();
  for (const one of [x, y]) one.dispose();
});
