import { defaultDevice, memory, synchronize } from '../../lib/native/device';
import { add, layerNorm, linear, mul, randomNormal, softmax } from '../../lib/ops';
import { captureGraph } from '../../lib/tensor/graph';
import { scope } from '../../lib/tensor/scope';
import { tensor } from '../../lib/tensor/tensor';

const onCuda = () => defaultDevice() === 'cuda';
const random = (shape: number[], stream: number) => randomNormal(shape, { seed: 3, stream });

test('a replay computes what the function would, on the values that its inputs have then', async () => {
  if (!onCuda()) {
    await expect(captureGraph(() => random([1], 0))).rejects.toMatchObject({ code: 'ERR_DEVICE' });
    return;
  }
  await synchronize();
  const before = memory().liveTensors;
  const x = random([5, 32], 0);
  const [weight, bias] = [random([16, 32], 1), random([16], 2)];
  const forward = () => {
    const hidden = linear(x, weight, bias, { activation: 'quick_gelu' });
    return { scores: softmax(add(hidden, tensor([0.5]))), list: [mul(hidden, 2)] };
  };
  const graph = await captureGraph(forward);
  for (let round = 0; round < 3; round++) {
    scope(() => x.assign(random([5, 32], 10 + round)));
    const { scores, list } = graph.replay();
    const replayed = [await scores.data(), await list[0]!.data()];
    const expected = scope(forward);
    expect(replayed).toEqual([await expected.scores.data(), await expected.list[0]!.data()]);
    for (const result of [expected.scores, expected.list[0]!]) result.dispose();
  }
  graph.dispose();
  graph.dispose();
  expect(() => graph.replay()).toThrow(expect.objectContaining({ code: 'ERR_DISPOSED' }));
  for (const used of [x, weight, bias]) used.dispose();
  expect(memory().liveTensors).toBeLessThanOrEqual(before);
});

test('a body that throws, or that fails, ends the recording', async () => {
  if (!onCuda()) return;
  let runs = 0;
  const broken = () => {
    if (++runs === 2) throw new Error('second run');
    return random([2], 0);
  };
  await expect(captureGraph(broken)).rejects.toThrow('second run');
  const x = random([2, 4], 1);
  const ones = tensor(new Float32Array(4).fill(1));
  const y = layerNorm(x, ones, ones);
  expect((await y.data()).length).toBe(8);
  for (const result of [x, ones, y]) result.dispose();
});
