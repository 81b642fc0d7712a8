import { checkKnownOptions, checkTexts, type KnownOptions } from '../../base/check';
import { CodedError } from '../../base/error';
import { l2Normalize } from '../../ops';
import { noGrad } from '../../tensor/autograd';
import { scope } from '../../tensor/scope';
import { type Tensor, tensor } from '../../tensor/tensor';
import { type Tokens, tokenize } from '../clip/tokenizer';
import { inDtype } from '../dtype';
import type { Footage } from './footage';
import { checkViews, readViews, throwIfAborted, type ViewOptions, type Views, viewKeys } from './video_input';
import type { XCLIP } from './xclip';

export interface ClassifyOptions extends ViewOptions {
  /** How many classes to return (default all). */
  topK?: number;
}

export const classifyKeys: KnownOptions<ClassifyOptions> = { ...viewKeys, topK: true };

export interface Classification {
  label: string;
  /** Softmax over the given names, averaged over the views. */
  probability: number;
}

/** Token ids of texts for this model. @throws ERR_LABELS, ERR_TEXT_TOO_LONG, ERR_INDEX_RANGE */
export function tokensFor(model: XCLIP, texts: readonly string[]): Tokens {
  const { contextLength, vocabSize } = model.geometry;
  const tokens = tokenize(texts, contextLength);
  const outside = tokens.ids.findIndex((id) => id >= vocabSize);
  if (outside >= 0) {
    const text = texts[Math.floor(outside / contextLength)];
    throw new CodedError(
      'ERR_INDEX_RANGE',
      `token ${tokens.ids[outside]} of ${JSON.stringify(text)} is outside the model's vocabulary of ${vocabSize}`,
    );
  }
  return tokens;
}

// Of two equal names each would get half of what both deserve.
function requireDistinct(names: readonly string[]): void {
  const places = new Map<string, number>();
  for (const [place, name] of names.entries()) {
    const before = places.get(name);
    if (before !== undefined) {
      const both = `names ${before} and ${place} are both ${JSON.stringify(name)}`;
      throw new CodedError('ERR_LABELS', `classify: ${both}; give each class once`);
    }
    places.set(name, place);
  }
}

/** Ranked classes of each video: XCLIP.classify. */
export async function classify(
  model: XCLIP,
  videos: readonly Footage[],
  names: readonly string[],
  options: ClassifyOptions,
): Promise<Classification[][]> {
  for (const video of videos) checkViews('classify', video, options, classifyKeys);
  checkKnownOptions('classify', options, classifyKeys);
  checkTexts('classify', 'names', names);
  const { topK, signal } = options;
  if (topK !== undefined && (!Number.isInteger(topK) || topK < 1)) {
    throw new CodedError('ERR_ARGUMENT', `classify: topK must be a whole number of at least 1, got ${topK}`);
  }
  requireDistinct(names);
  const tokens = tokensFor(model, names);
  let text: Tensor | undefined;
  try {
    const results: Classification[][] = [];
    for (const video of videos) {
      const views = await readViews(video, model.geometry, options);
      text ??= noGrad(() => model.encodeText(tokens));
      const features = text;
      const score = (clip: Tensor) => model.score(model.encodeVideo(clip), features);
      const sum = new Float64Array(names.length);
      for await (const logits of perView(model, views, score)) {
        throwIfAborted(signal);
        for (const [k, p] of softmax(logits).entries()) sum[k]! += p;
      }
      results.push(rank(names, sum, views.shape[0]!).slice(0, topK));
    }
    return results;
  } finally {
    text?.dispose();
  }
}

/** XCLIP.embedVideo. */
export async function embedVideo(model: XCLIP, video: Footage, options: ViewOptions): Promise<Float32Array> {
  checkViews('embedVideo', video, options, viewKeys);
  const views = await readViews(video, model.geometry, options);
  const sum = new Float32Array(model.geometry.embedDim);
  for await (const feature of perView(model, views, (clip) =>
    l2Normalize(inDtype(model.encodeVideo(clip).video, 'float32')),
  )) {
    throwIfAborted(options.signal);
    for (const [i, value] of feature.entries()) sum[i]! += value;
  }
  const length = Math.hypot(...sum);
  return sum.map((value) => value / length);
}

/** XCLIP.embedText. */
export async function embedTexts(model: XCLIP, texts: readonly string[]): Promise<Float32Array[]> {
  checkTexts('embedText', 'texts', texts);
  const features = noGrad(() => scope(() => l2Normalize(model.encodeText(tokensFor(model, texts)))));
  const all = (await features.data()) as Float32Array;
  features.dispose();
  const width = model.geometry.embedDim;
  return texts.map((_, k) => all.slice(k * width, (k + 1) * width));
}

// One view at a time, so that memory does not grow with their number. `body` maps a clip [1, T, 3, S, S] to a tensor.
async function* perView(
  model: XCLIP,
  { pixels, shape: [count, ...shape] }: Views,
  body: (clip: Tensor) => Tensor,
): AsyncGenerator<Float32Array> {
  const size = pixels.length / count!;
  const device = model.logit_scale.device;
  for (let view = 0; view < count!; view++) {
    const result = noGrad(() =>
      scope(() => {
        const data = pixels.subarray(view * size, (view + 1) * size);
        return body(tensor(data, [1, ...shape], { device }));
      }),
    );
    try {
      yield (await result.data()) as Float32Array;
    } finally {
      result.dispose();
    }
  }
}

function softmax(logits: Float32Array): Float64Array {
  const largest = logits.reduce((a, b) => Math.max(a, b), Number.NEGATIVE_INFINITY);
  const weights = Float64Array.from(logits, (x) => Math.exp(x - largest));
  const sum = weights.reduce((a, b) => a + b, 0);
  return weights.map((w) => w / sum);
}

function rank(names: readonly string[], sum: Float64Array, views: number): Classification[] {
  return names
    .map((label, k) => ({ label, probability: sum[k]! / views }))
    .sort((a, b) => b.probability - a.probability);
}
