import { encodeText } from '../../../lib/models/clip/text';
import { groupByLength } from '../../../lib/models/clip/text_groups';
import type { Tokens } from '../../../lib/models/clip/tokenizer';
import type { XCLIP } from '../../../lib/models/xclip/xclip';
import { evaluation } from '../../../lib/nn/module';
import { mul, sum } from '../../../lib/ops';
import { backward } from '../../../lib/tensor/autograd';
import { tensor } from '../../../lib/tensor/tensor';
import { largest, loadTiny, relativeL2 } from '../../support/tiny_model';

describe('texts of like lengths are put together', () => {
  const cost = (groups: number[][], lengths: Int32Array) =>
    groups.reduce(
      (rows, group) => rows + 128 + group.length * Math.max(...group.map((text) => lengths[text]!)),
      0,
    );

  test.each([
    ['one text', [5]],
    ['equal lengths', [4, 4, 4]],
    ['too few to be worth a pass', [3, 9, 4, 10]],
    ['many short ones, a few long', [...Array(90).fill(4), 10, 9, ...Array(40).fill(5)]],
    ['two peaks', [...Array(50).fill(3), ...Array(50).fill(20), 19, 7]],
    ['many lengths', Array.from({ length: 300 }, (_, i) => 3 + ((i * i) % 31))],
  ] as [string, number[]][])('%s', (_, given) => {
    const lengths = Int32Array.from(given);
    const groups = groupByLength(lengths);
    expect(groups.flat().sort((a, b) => a - b)).toEqual([...lengths.keys()]);
    // Against every way to cut the sorted lengths in up to three groups.
    const sorted = [...lengths.keys()].sort((a, b) => lengths[a]! - lengths[b]!);
    let least = Number.POSITIVE_INFINITY;
    for (let i = 0; i < sorted.length; i++) {
      for (let j = i; j < sorted.length; j++) {
        const cut = [sorted.slice(0, i), sorted.slice(i, j), sorted.slice(j)].filter(
          (group) => group.length > 0,
        );
        least = Math.min(least, cost(cut, lengths));
      }
    }
    expect(cost(groups, lengths)).toBeLessThanOrEqual(least);
  });
});

describe('encodeText', () => {
  let model: XCLIP;
  beforeAll(async () => {
    model = await loadTiny();
  });
  afterAll(() => model.dispose());

  // Enough texts for several groups. The end token is the largest id.
  const [count, width] = [200, 16];
  const tokens: Tokens = { ids: new Int32Array(count * width), shape: [count, width] };
  for (let k = 0; k < count; k++) {
    const end = k % 10 === 0 ? 11 : 2 + (k % 3);
    for (let i = 0; i < end; i++) tokens.ids[k * width + i] = 1 + ((k * 7 + i * 13) % 500);
    tokens.ids[k * width + end] = 599;
  }

  async function run(whole: boolean) {
    const embedded = jest.spyOn(model.token_embedding, 'forward');
    const features = encodeText(model, tokens, 'float32', evaluation, whole);
    const passes = embedded.mock.calls.length;
    embedded.mockRestore();
    const weights = Float32Array.from({ length: features.size }, (_, i) => Math.sin(i));
    backward(sum(mul(features, tensor(weights, features.shape, { device: features.device }))));
    const { weight } = model.token_embedding;
    const results = {
      passes,
      features: (await features.data()) as Float32Array,
      gradient: (await weight.grad!.data()) as Float32Array,
    };
    for (const parameter of model.parameters()) {
      parameter.grad?.dispose();
      parameter.grad = null;
    }
    return results;
  }

  test('features and gradients of texts in groups are those of all in one pass', async () => {
    const [grouped, whole] = [await run(false), await run(true)];
    expect(whole.passes).toBe(1);
    if (model.logit_scale.device === 'cpu') expect(grouped.passes).toBeGreaterThan(1);
    expect(relativeL2(grouped.features, whole.features)).toBeLessThan(2e-6);
    expect(relativeL2(grouped.gradient, whole.gradient)).toBeLessThan(2e-6);
    expect(largest(whole.gradient)).toBeGreaterThan(0);
  });
});
