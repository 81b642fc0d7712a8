import { throwIfAborted } from '../../base/abort';
import { checkArray, checkKnownOptions, checkSize, checkTexts, type KnownOptions } from '../../base/check';
import { usableCores } from '../../base/cores';
import { CodedError } from '../../base/error';
import { inTurn, type Outcome } from '../../data/in_turn';
import { videoFault } from '../../data/video_fault';
import { l2Normalize } from '../../ops';
import { noGrad } from '../../tensor/autograd';
import { keep, scope } from '../../tensor/scope';
import { type Tensor, tensor } from '../../tensor/tensor';
import { type Tokens, tokenize } from '../clip/tokenizer';
import { inDtype } from '../dtype';
import type { Footage } from './footage';
import { checkViews, readViews, type ViewOptions, type Views, viewKeys } from './video_input';
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

/** What {@link XCLIP.classifyEach} says of a video: its ranked classes, or why it could not be read. */
export type VideoClasses =
  | { video: Footage; classes: Classification[]; error?: undefined }
  | { video: Footage; classes?: undefined; error: CodedError };

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
function requireDistinct(what: string, names: readonly string[]): void {
  if (names.length === 0) throw new CodedError('ERR_LABELS', `${what}: names is empty; give at least one`);
  const places = new Map<string, number>();
  for (const [place, name] of names.entries()) {
    const before = places.get(name);
    if (before !== undefined) {
      const both = `names ${before} and ${place} are both ${JSON.stringify(name)}`;
      throw new CodedError('ERR_LABELS', `${what}: ${both}; give each class once`);
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
  const results: Classification[][] = [];
  for await (const outcome of classifyInTurn('classify', model, videos, names, options)) {
    if (outcome.status === 'rejected') throw outcome.reason;
    results.push(outcome.value);
  }
  return results;
}

/** XCLIP.classifyEach. */
export async function* classifyEach(
  model: XCLIP,
  videos: readonly Footage[],
  names: readonly string[],
  options: ClassifyOptions,
): AsyncGenerator<VideoClasses, void> {
  checkArray('classifyEach', 'videos', videos);
  for await (const outcome of classifyInTurn('classifyEach', model, videos, names, options)) {
    const { item: video } = outcome;
    if (outcome.status === 'fulfilled') yield { video, classes: outcome.value };
    else if (videoFault(outcome.reason)) yield { video, error: outcome.reason };
    else throw outcome.reason;
  }
}

async function* classifyInTurn(
  what: string,
  model: XCLIP,
  videos: readonly Footage[],
  names: readonly string[],
  options: ClassifyOptions,
): AsyncGenerator<Outcome<Footage, Classification[]>, void> {
  for (const video of videos) checkViews(what, video, options, classifyKeys);
  checkKnownOptions(what, options, classifyKeys);
  const read = (video: Footage, signal: AbortSignal) =>
    readViews(video, model.geometry, { ...options, signal });
  yield* classifyViews(what, model, videos, read, names, options);
}

/** Bytes of pixels that wait for the model at most. */
const waitingBytes = 2 ** 28;

/**
 * What the model says of each item: while it looks at one, the next ones are read.
 * @param read an item's views
 */
export async function* classifyViews<T>(
  what: string,
  model: XCLIP,
  items: Iterable<T>,
  read: (item: T, signal: AbortSignal) => Promise<Views>,
  names: readonly string[],
  { topK, signal, clips = 1, crops = 1 }: ClassifyOptions,
): AsyncGenerator<Outcome<T, Classification[]>, void> {
  checkTexts(what, 'names', names);
  if (topK !== undefined) checkSize(what, 'topK', topK);
  requireDistinct(what, names);
  const tokens = tokensFor(model, names);
  const { frames, imageSize } = model.geometry;
  const viewBytes = 4 * clips * crops * frames * 3 * imageSize ** 2;
  const ahead = Math.min(usableCores(), Math.floor(waitingBytes / viewBytes));
  let text: Tensor | undefined;
  try {
    for await (const outcome of inTurn(items, ahead, read, signal)) {
      if (outcome.status === 'rejected') {
        yield outcome;
        continue;
      }
      text ??= noGrad(() => model.encodeText(tokens));
      const views = outcome.value;
      const value = rank(names, await probabilities(model, views, text, signal)).slice(0, topK);
      yield { item: outcome.item, status: 'fulfilled', value };
    }
  } finally {
    text?.dispose();
  }
}

/** Softmax over the texts, averaged over the views. */
async function probabilities(
  model: XCLIP,
  views: Views,
  text: Tensor,
  signal: AbortSignal | undefined,
): Promise<Float64Array> {
  const sum = new Float64Array(text.shape[0]!);
  for await (const logits of perView(model, views, (clip) => model.score(model.encodeVideo(clip), text))) {
    throwIfAborted(signal);
    for (const [k, p] of softmax(logits).entries()) sum[k]! += p;
  }
  return sum.map((p) => p / views.shape[0]!);
}

/** XCLIP.loadFrames. */
export async function loadFrames(model: XCLIP, video: Footage, options: ViewOptions): Promise<Tensor> {
  checkViews('loadFrames', video, options, viewKeys);
  const { pixels, shape } = await readViews(video, model.geometry, options);
  return keep(tensor(pixels, shape, { device: model.logit_scale.device }));
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

function rank(names: readonly string[], probabilities: Float64Array): Classification[] {
  return names
    .map((label, k) => ({ label, probability: probabilities[k]! }))
    .sort((a, b) => b.probability - a.probability);
}
