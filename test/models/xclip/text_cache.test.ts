import type { TextInput } from '../../../lib/models/clip/text';
import type { XCLIP } from '../../../lib/models/xclip/xclip';
import { evaluation, type Mode } from '../../../lib/nn/module';
import { full } from '../../../lib/ops';
import { noGrad } from '../../../lib/tensor/autograd';
import { type Tensor, tensor } from '../../../lib/tensor/tensor';
import { loadTiny, tinyTokens } from '../../support/tiny_model';

let model: XCLIP;
beforeEach(async () => {
  model = await loadTiny();
});
afterEach(() => model.dispose());

/** Features of `tokens`, and whether the text tower ran for them. */
async function encode(tokens: TextInput): Promise<{ values: Float32Array; computed: boolean }> {
  let computed = false;
  const mode: Mode = {
    ...evaluation,
    trace: () => {
      computed = true;
    },
  };
  const features = noGrad(() => model.encodeText(tokens, mode));
  const values = (await features.data()) as Float32Array;
  features.dispose();
  return { values, computed };
}

test('the same tokens are encoded once', async () => {
  const first = await encode(tinyTokens());
  const second = await encode(tinyTokens());
  expect([first.computed, second.computed]).toEqual([true, false]);
  expect(second.values).toEqual(first.values);
});

test('other tokens are encoded anew, also when the array is the same one', async () => {
  const tokens = tinyTokens();
  const first = await encode(tokens);
  tokens.ids[1] = (tokens.ids[1]! + 1) % 590;
  const second = await encode(tokens);
  expect(second.computed).toBe(true);
  expect(second.values.slice(0, 128)).not.toEqual(first.values.slice(0, 128));
  expect(second.values.slice(128)).toEqual(first.values.slice(128));
});

test('changed weights are noticed, wherever in the text tower they are', async () => {
  const first = await encode(tinyTokens());
  const bias = model.transformer.resblocks[0]!.mlp.c_fc.bias!;
  const values = full(bias.shape, 0.5, { device: 'auto' });
  bias.assign(values);
  values.dispose();
  const second = await encode(tinyTokens());
  expect(second.computed).toBe(true);
  expect(second.values).not.toEqual(first.values);
});

test('loading weights is noticed', async () => {
  await encode(tinyTokens());
  const other = await loadTiny();
  const state = new Map<string, { shape: readonly number[]; float32(): Promise<Float32Array> }>();
  for (const [name, parameter] of other.namedParameters()) {
    state.set(name, {
      shape: parameter.shape,
      float32: async () => ((await parameter.data()) as Float32Array).map((x) => 1.1 * x),
    });
  }
  await model.loadStateDict(state);
  other.dispose();
  expect((await encode(tinyTokens())).computed).toBe(true);
});

test('changing a token tensor in place is noticed', async () => {
  const { ids, shape } = tinyTokens();
  const tokens = tensor(ids, shape, { device: 'auto' });
  expect((await encode(tokens)).computed).toBe(true);
  expect((await encode(tokens)).computed).toBe(false);
  const changed: Tensor = tensor(
    ids.map((id) => (id === 599 ? id : (id + 7) % 590)),
    shape,
    { device: 'auto' },
  );
  tokens.assign(changed);
  expect((await encode(tokens)).computed).toBe(true);
  tokens.dispose();
  changed.dispose();
});

test('with a gradient wanted nothing comes from the cache', async () => {
  await encode(tinyTokens());
  const features = model.encodeText(tinyTokens());
  expect(features.requiresGrad).toBe(true);
  features.dispose();
  model.freeze((name) => !name.startsWith('visual.'));
  const fixed = model.encodeText(tinyTokens());
  expect(fixed.requiresGrad).toBe(false);
  fixed.dispose();
});
