import type { XCLIP } from '../../../lib/models/xclip/xclip';
import { memory } from '../../../lib/native/device';
import { matmul } from '../../../lib/ops';
import { noGrad } from '../../../lib/tensor/autograd';
import { type Tensor, tensor } from '../../../lib/tensor/tensor';
import { expectClose } from '../../support/check_op';
import { largest, loadTiny, recorded, tinyFrames, tinyTokens, tracing } from '../../support/tiny_model';

let model: XCLIP;
let frames: Tensor;
const seen = new Map<string, number[]>();

beforeAll(async () => {
  model = await loadTiny();
  frames = tinyFrames();
  const trace = tracing();
  const logits = noGrad(() => model.forward(frames, tinyTokens(), trace.mode));
  logits.dispose();
  const normed = trace.seen.get('prompts.visual_ln')!;
  trace.seen.set('prompts.img_features', matmul(normed, model.prompts_visual_proj));
  for (const [name, value] of trace.seen) {
    seen.set(name, Array.from((await value.data()) as Float32Array));
    value.dispose();
  }
});

afterAll(() => {
  model.dispose();
  frames.dispose();
});

// The reference's own float32 noise is below 1e-6 of a tensor's largest value.
const tolerance = 2e-5;
const endOnly = ['text.block1.out', 'text.ln_final'];
const whole = [...recorded.keys()].filter(
  (name) => !name.startsWith('input.') && name !== 'text.features' && !endOnly.includes(name),
);

test.each(whole)('%s is the recorded one', (name) => {
  const expected = recorded.get(name)!.data;
  expectClose(name, seen.get(name)!, expected, tolerance * largest(expected));
});

test.each(endOnly)('%s is the recorded one at the end tokens, the only rows computed', (name) => {
  const { data, shape } = recorded.get(name)!;
  const [classes, length, width] = shape as [number, number, number];
  const tokens = tinyTokens().ids;
  const expected = Array.from({ length: classes }, (_, k) => {
    const row = tokens.subarray(k * length, (k + 1) * length);
    const start = (k * length + row.indexOf(Math.max(...row))) * width;
    return data.slice(start, start + width);
  }).flat();
  expectClose(name, seen.get(name)!, expected, tolerance * largest(expected));
});

test('text features and logits are the recorded ones, also with tokens on the device', async () => {
  const { ids, shape } = tinyTokens();
  const onDevice = tensor(BigInt64Array.from(ids, BigInt), shape, { device: 'auto' });
  const [features, logits] = noGrad(() => [model.encodeText(onDevice), model.forward(frames, onDevice)]);
  const expected = recorded.get('text.features')!.data;
  expectClose('features', (await features!.data()) as Float32Array, expected, tolerance * largest(expected));
  expect([...logits!.shape]).toEqual([2, 5]);
  expect(logits!.dtype).toBe('float32');
  expectClose('logits', (await logits!.data()) as Float32Array, recorded.get('logits')!.data, 2e-5);
  for (const t of [onDevice, features!, logits!]) t.dispose();
});

test('texts are the same alone as in the company of longer ones', async () => {
  const { ids } = tinyTokens();
  const ends = Array.from({ length: 5 }, (_, k) => ids.subarray(77 * k, 77 * (k + 1)).indexOf(599));
  const shortest = ends.indexOf(Math.min(...ends));
  const alone = { ids: ids.slice(77 * shortest, 77 * (shortest + 1)), shape: [1, 77] as [number, number] };
  const features = noGrad(() => model.encodeText(alone));
  const expected = recorded.get('text.features')!.data.slice(128 * shortest, 128 * (shortest + 1));
  expectClose('features', (await features.data()) as Float32Array, expected, tolerance * largest(expected));
  features.dispose();
});

test('a forward pass leaves nothing behind but its result', () => {
  // On CUDA the second pass of a shape is recorded: the recordings' inputs (frames; video, patches and text) and results
  // (video and patches; logits) stay, until they are given back.
  const first = memory().liveTensors;
  for (let i = 0; i < 2; i++) noGrad(() => model.forward(frames, tinyTokens())).dispose();
  const recorded = memory().liveTensors;
  model.releaseRecordings();
  expect(recorded - memory().liveTensors).toBe(frames.device === 'cuda' ? 7 : 0);
  expect(memory().liveTensors).toBeLessThanOrEqual(first);
  const before = memory().liveTensors;
  const logits = noGrad(() => model.forward(frames, tinyTokens()));
  const cached = memory().liveTensors;
  logits.dispose();
  // The text features stay in the cache.
  expect(memory().liveTensors).toBe(cached - 1);
  expect(cached - before).toBeLessThanOrEqual(2);
});
