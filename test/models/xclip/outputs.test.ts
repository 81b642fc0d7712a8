import type { XclipOutputs } from '../../../lib/models';
import type { XCLIP } from '../../../lib/models/xclip/xclip';
import { memory } from '../../../lib/native/device';
import { evaluation } from '../../../lib/nn/module';
import { add, mul, sum } from '../../../lib/ops';
import { backward, noGrad } from '../../../lib/tensor/autograd';
import { scope } from '../../../lib/tensor/scope';
import { type Tensor, tensor } from '../../../lib/tensor/tensor';
import { expectClose } from '../../support/check_op';
import { largest, loadTiny, recorded, tinyFrames, tinyTokens } from '../../support/tiny_model';

let model: XCLIP;
let frames: Tensor;
beforeAll(async () => {
  model = await loadTiny();
  frames = tinyFrames();
});
afterAll(() => {
  model.dispose();
  frames.dispose();
});
afterEach(() => {
  for (const parameter of model.parameters()) {
    parameter.grad?.dispose();
    parameter.grad = null;
  }
});

/** What the reference implementation recorded of each output. */
const references: Record<Exclude<keyof XclipOutputs, 'textHiddenStates'>, string | string[]> = {
  hiddenStates: ['vision.ln_pre', 'vision.block0.out', 'vision.block1.out', 'vision.block2.out'],
  frameFeatures: 'vision.cls',
  videoFeatures: 'mit.out',
  patchFeatures: 'prompts.img_features_mean',
  textFeatures: 'text.features',
  prompts: 'prompts.out',
  videoEmbeddings: 'final.video',
  textEmbeddings: 'final.text',
  logits: 'logits',
};
const names = Object.keys(references) as (keyof typeof references)[];
const data = async (x: Tensor) => (await x.data()) as Float32Array;
const all = (outputs: Partial<XclipOutputs>) => Object.values(outputs).flat() as Tensor[];

test.each([['all at once', names], ...names.map((name) => [name, [name]] as const)] as const)(
  '%s: what the reference recorded, and no other',
  async (_, asked) => {
    const outputs = noGrad(() => model.outputs(frames, tinyTokens(), asked));
    expect(Object.keys(outputs).sort()).toEqual([...asked].sort());
    for (const name of asked) {
      const tensors = [outputs[name]].flat();
      const expected = [references[name]].flat().map((one) => recorded.get(one)!);
      expect(tensors.map(({ shape }) => [...shape])).toEqual(expected.map(({ shape }) => [...shape]));
      for (const [i, one] of expected.entries()) {
        expectClose(name, await data(tensors[i]!), one.data, 2e-5 * largest(one.data));
      }
    }
    for (const x of all(outputs)) x.dispose();
  },
);

test('logits and text features have the bits of forward and encodeText', async () => {
  const [{ logits, textFeatures }, expected, text] = noGrad(() => [
    model.outputs(frames, tinyTokens(), ['logits', 'textFeatures']),
    model.forward(frames, tinyTokens()),
    model.encodeText(tinyTokens()),
  ]);
  expect(await data(logits)).toEqual(await data(expected));
  expect(await data(textFeatures)).toEqual(await data(text));
  for (const x of [logits, textFeatures, expected, text]) x.dispose();
});

test('hidden states of texts: the embedding, then every token after each block, as the reference recorded them', async () => {
  const { ids, shape } = tinyTokens();
  const { textHiddenStates, textFeatures, logits } = noGrad(() =>
    model.outputs(frames, tinyTokens(), ['textHiddenStates', 'textFeatures', 'logits']),
  );
  const [embedded, ...blocks] = textHiddenStates;
  const vectors = await data(model.token_embedding.weight);
  const positions = await data(model.positional_embedding);
  const sums = Float32Array.from({ length: ids.length * 128 }, (_, i) => {
    const token = Math.floor(i / 128);
    return vectors[ids[token]! * 128 + (i % 128)]! + positions[(token % shape[1]) * 128 + (i % 128)]!;
  });
  expect(embedded!.shape).toEqual([...shape, 128]);
  expect(await data(embedded!)).toEqual(sums);
  expect(blocks).toHaveLength(2);
  for (const [name, found] of [
    ['text.block0.out', blocks[0]!],
    ['text.block1.out', blocks[1]!],
    ['text.features', textFeatures],
    ['logits', logits],
  ] as const) {
    const expected = recorded.get(name)!;
    expect([name, ...found.shape]).toEqual([name, ...expected.shape]);
    expectClose(name, await data(found), expected.data, 2e-5 * largest(expected.data));
  }
  for (const x of [...textHiddenStates, textFeatures, logits]) x.dispose();
});

test('gradients reach the text tower through the hidden states of texts', async () => {
  scope(() => {
    const { textHiddenStates } = model.outputs(frames, tinyTokens(), ['textHiddenStates']);
    backward(sum(textHiddenStates[1]!));
  });
  const [first, second] = model.transformer.resblocks;
  expect(model.token_embedding.weight.grad).not.toBeNull();
  expect(first!.ln_1.weight.grad).not.toBeNull();
  expect(second!.ln_1.weight.grad).toBeNull();
});

test.each([false, true])('gradients flow through outputs; recomputed: %p', async (checkpoint) => {
  const mode = { ...evaluation, checkpoint };
  const outputs = scope(() => {
    const asked = ['hiddenStates', 'frameFeatures', 'logits'] as const;
    const made = model.outputs(frames, tinyTokens(), asked, mode);
    const { hiddenStates, frameFeatures, logits } = made;
    backward(add(add(sum(mul(hiddenStates[2]!, 0.1)), sum(mul(frameFeatures, 3))), sum(logits)));
    return made;
  });
  const found = await Promise.all(model.parameters().map(async ({ grad }) => grad && data(grad)));
  // The same by way of a loss for each: gradients add up.
  for (const parameter of model.parameters()) parameter.grad = null;
  const once = (body: () => Tensor) => backward(scope(body));
  once(() => sum(mul(model.outputs(frames, null, ['hiddenStates']).hiddenStates[2]!, 0.1)));
  once(() => sum(mul(model.visual.forward(frames, 'float32', evaluation).classes, 3)));
  once(() => sum(model.forward(frames, tinyTokens())));
  for (const [i, [name, { grad }]] of [...model.namedParameters()].entries()) {
    expect([name, found[i] !== null]).toEqual([name, grad !== null]);
    if (grad) expectClose(name, found[i]!, await data(grad), 1e-4 * largest(await data(grad)) + 1e-6);
  }
  for (const x of all(outputs)) x.dispose();
});

test('what is of the video alone needs no texts, and reads no text parameter', () => {
  scope(() => {
    const { videoFeatures } = model.outputs(frames, tinyTokens(), ['videoFeatures', 'patchFeatures']);
    backward(sum(videoFeatures));
  });
  expect(model.token_embedding.weight.grad).toBeNull();
  expect(model.prompts_visual_proj.grad).toBeNull();
  expect(model.visual.proj.grad).not.toBeNull();
});

test('outputs belong to the scope around, or to the caller; nothing is left of a pass that fails', () => {
  noGrad(() => model.encodeText(tinyTokens())).dispose();
  const before = memory().liveTensors;
  scope(() => {
    noGrad(() => model.outputs(frames, tinyTokens(), names));
  });
  expect(memory().liveTensors).toBe(before);
  const kept = scope(() => noGrad(() => model.outputs(frames, null, ['hiddenStates'])));
  expect(memory().liveTensors).toBe(before + 4);
  for (const x of kept.hiddenStates) x.dispose();
  const far = { ids: new Int32Array(80), shape: [1, 80] as [number, number] };
  expect(() => noGrad(() => model.outputs(frames, far, ['hiddenStates', 'logits']))).toThrow(
    expect.objectContaining({ code: 'ERR_TEXT_TOO_LONG' }),
  );
  expect(memory().liveTensors).toBeLessThanOrEqual(before); // the kept text features made way for those that failed
});

test('what is asked wrongly is refused', () => {
  const wrong = (message: RegExp) =>
    expect.objectContaining({ code: 'ERR_ARGUMENT', message: expect.stringMatching(message) });
  const ask = (tokens: unknown, asked: unknown) => () =>
    model.outputs(frames, tokens as never, asked as never);
  expect(ask(tinyTokens(), ['logit'])).toThrow(
    wrong(/names\[0\] must be one of hiddenStates, .*, got "logit"/),
  );
  expect(ask(tinyTokens(), 'logits')).toThrow(wrong(/names must be an array/));
  expect(ask(null, ['videoFeatures', 'prompts'])).toThrow(wrong(/prompts depends on texts/));
  expect(() => model.outputs(tensor([1]), null, ['videoFeatures'])).toThrow(
    expect.objectContaining({ code: 'ERR_SHAPE' }),
  );
});
