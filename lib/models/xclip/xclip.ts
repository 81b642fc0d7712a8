import { checkKnownOptions, checkText, type KnownOptions, named, wrongKind } from '../../base/check';
import { CodedError } from '../../base/error';
import { Embedding } from '../../nn/embedding';
import { constant, Initializer, normal } from '../../nn/init';
import { LayerNorm } from '../../nn/layer_norm';
import { checkMode, evaluation, type Mode, Module } from '../../nn/module';
import { RecordedForward } from '../../nn/recorded_forward';
import { Transformer } from '../../nn/transformer';
import { add, exp, l2Normalize, matmul, mean, mul, reshape } from '../../ops';
import { isRecording, noGrad } from '../../tensor/autograd';
import { checkTensor } from '../../tensor/check';
import { scope } from '../../tensor/scope';
import { type Device, describe, type Tensor } from '../../tensor/tensor';
import { encodeText, type TextInput, type TextTower } from '../clip/text';
import { TextCache } from '../clip/text_cache';
import { type ComputeDtype, checkComputeDtype, inDtype } from '../dtype';
import {
  type Classification,
  type ClassifyOptions,
  classify,
  classifyEach,
  embedTexts,
  embedVideo,
  loadFrames,
  type VideoClasses,
} from './classify';
import type { Footage } from './footage';
import { checkGeometrySizes, type Geometry } from './geometry';
import { type InitialValues, initializeXclip } from './initialize';
import type { LivePictures } from './live_pictures';
import { MultiframeIntegration } from './multiframe';
import { outputsOf, type XclipOutputs } from './outputs';
import { PromptGenerator } from './prompt';
import { type TimelineEntry, type TimelineOptions, timeline } from './timeline';
import type { ViewOptions } from './video_input';
import { CrossFrameVision } from './vision';
import { openWeights } from './weights';

export interface XclipOptions {
  device?: Device;
  /** Seed of the initial values (default 0). */
  seed?: number;
  /** Which initial values to draw (default `finetune`); `none` leaves them undefined, to be loaded. */
  init?: InitialValues | 'none';
  /** What activations are computed in (default float32). */
  computeDtype?: ComputeDtype;
  /** Dtype of the weights of matrix products: 16 bits halve a model that is not trained (default float32). */
  weightDtype?: ComputeDtype;
  /** Largest probability of dropping a residual branch in training (default 0). */
  dropPathRate?: number;
  /** On CUDA, record the video side for each shape that comes twice, and replay it (default true). */
  cudaGraph?: boolean;
}

export interface LoadXclipOptions {
  device?: Device;
  /** What to compute in (default float32); with a 16-bit one the weights of matrix products are stored so, too. */
  dtype?: ComputeDtype;
  /** Keep float32 parameters that require gradients (default false: nothing is recorded). */
  trainable?: boolean;
  /** As in {@link XclipOptions}. */
  cudaGraph?: boolean;
  signal?: AbortSignal;
}

const modelKeys: KnownOptions<XclipOptions> = {
  device: true,
  seed: true,
  init: true,
  computeDtype: true,
  weightDtype: true,
  dropPathRate: true,
  cudaGraph: true,
};
const loadKeys: KnownOptions<LoadXclipOptions> = {
  device: true,
  dtype: true,
  trainable: true,
  cudaGraph: true,
  signal: true,
};

/** What the video side of the model says of a batch of clips. */
export interface VideoFeatures {
  /** [B, E], not normalised */
  video: Tensor;
  /** Patch features averaged over frames, [B, N, E]. */
  patches: Tensor;
}

/**
 * X-CLIP (Ni et al., "Expanding Language-Image Pretrained Models for General Video Recognition", ECCV 2022): scores a
 * clip against class names in words. Parameter names are those of the official checkpoints.
 *
 * @example
 * const model = await XCLIP.load('k400_32_8.pth');
 * const [best] = await model.classify('clip.mp4', ['abseiling', 'zumba']);
 * console.log(best.label, best.probability);
 * model.dispose();
 */
export class XCLIP extends Module implements TextTower {
  readonly positional_embedding: Tensor;
  readonly text_projection: Tensor;
  /** Logarithm of the factor on cosines, float32 []. */
  readonly logit_scale: Tensor;
  /** [D, E] */
  readonly prompts_visual_proj: Tensor;
  readonly prompts_generator: PromptGenerator;
  readonly mit: MultiframeIntegration;
  readonly visual: CrossFrameVision;
  readonly transformer: Transformer;
  readonly token_embedding: Embedding;
  readonly ln_final: LayerNorm;
  readonly prompts_visual_ln: LayerNorm;

  readonly computeDtype: ComputeDtype;
  private readonly textCache = new TextCache();
  private readonly textParameters: readonly Tensor[];
  private readonly videoParameters: readonly Tensor[];
  private readonly recordedVideo: RecordedForward<[Tensor], { video: Tensor; patches: Tensor }> | null;
  private readonly recordedScore: RecordedForward<[Tensor, Tensor, Tensor], { logits: Tensor }> | null;

  constructor(
    readonly geometry: Geometry,
    options: XclipOptions = {},
  ) {
    super();
    checkGeometrySizes(geometry);
    checkKnownOptions('XCLIP', options, modelKeys);
    const { embedDim, visionWidth, textWidth, textLayers, textHeads, contextLength, vocabSize } = geometry;
    this.computeDtype = options.computeDtype ?? 'float32';
    named('XCLIP', () => checkComputeDtype(this.computeDtype, options.device));
    const init = new Initializer({ device: options.device, weightDtype: options.weightDtype, draw: false });
    this.positional_embedding = init.vector([contextLength, textWidth], normal(0.01));
    this.text_projection = init.weight([textWidth, embedDim], normal(textWidth ** -0.5));
    this.logit_scale = init.vector([], constant(Math.log(1 / 0.07)));
    this.prompts_visual_proj = init.weight([visionWidth, embedDim], normal(1));
    this.prompts_generator = new PromptGenerator(geometry, init);
    this.mit = new MultiframeIntegration(geometry, init);
    this.visual = new CrossFrameVision(geometry, options.dropPathRate ?? 0, init);
    this.transformer = new Transformer(textWidth, textLayers, textHeads, init);
    this.token_embedding = new Embedding(vocabSize, textWidth, init);
    this.ln_final = new LayerNorm(textWidth, init);
    this.prompts_visual_ln = new LayerNorm(visionWidth, init);
    this.textParameters = [
      this.positional_embedding,
      this.text_projection,
      ...this.transformer.parameters(),
      ...this.token_embedding.parameters(),
      ...this.ln_final.parameters(),
    ];
    this.videoParameters = [
      ...this.visual.parameters(),
      ...this.mit.parameters(),
      ...this.prompts_visual_ln.parameters(),
      this.prompts_visual_proj,
    ];
    const scoreParameters = [...this.prompts_generator.parameters(), this.logit_scale];
    const encode = (frames: Tensor) => ({ ...this.computeVideo(frames, evaluation) });
    const score = (video: Tensor, patches: Tensor, text: Tensor) => ({
      logits: this.computeScore({ video, patches }, text, evaluation),
    });
    const recorded = options.cudaGraph ?? true;
    this.recordedVideo = recorded ? new RecordedForward(encode, () => this.videoParameters) : null;
    this.recordedScore = recorded ? new RecordedForward(score, () => scoreParameters) : null;
    const values = options.init ?? 'finetune';
    if (!['none', 'finetune', 'scratch'].includes(values))
      throw wrongKind('XCLIP', 'init', 'finetune, scratch or none', values);
    if (values !== 'none') initializeXclip(this, values, options.seed ?? 0);
  }

  /**
   * Loads a model from a checkpoint in any format that `readCheckpoint` knows; its architecture, frame count and sizes
   * are those of the checkpoint. Its parameters are frozen unless `trainable` is set.
   *
   * @throws ERR_FILE_NOT_FOUND, ERR_CHECKPOINT_FORMAT, ERR_CHECKPOINT_UNSAFE, ERR_CHECKPOINT_MISMATCH, ERR_ABORTED
   */
  static async load(path: string, options: LoadXclipOptions = {}): Promise<XCLIP> {
    checkText('XCLIP.load', 'path', path);
    checkKnownOptions('XCLIP.load', options, loadKeys);
    const { device, dtype = 'float32', trainable = false, cudaGraph, signal } = options;
    const weights = await openWeights(path);
    try {
      const model = new XCLIP(weights.geometry, {
        device,
        computeDtype: dtype,
        weightDtype: trainable ? 'float32' : dtype,
        init: 'none',
        cudaGraph,
      });
      try {
        await model.loadStateDict(weights.state, { source: path, signal });
      } catch (error) {
        model.dispose();
        throw error;
      }
      if (!trainable) model.freeze();
      return model;
    } finally {
      await weights.close();
    }
  }

  /**
   * Features of class names, float32 [K, E], not normalised. Nothing is computed when neither the tokens nor the text
   * parameters have changed since the last call, unless a gradient is wanted.
   */
  encodeText(tokens: TextInput, mode: Mode = evaluation): Tensor {
    checkMode('encodeText', mode);
    this.checkAlive();
    const encode = () => scope(() => inDtype(encodeText(this, tokens, this.computeDtype, mode), 'float32'));
    if (isRecording() && this.textParameters.some((parameter) => parameter.requiresGrad)) return encode();
    return this.textCache.get(tokens, this.textParameters, () => noGrad(encode));
  }

  /**
   * @param frames normalised pixels, float32 [B, T, 3, H, W]
   * @throws ERR_FRAME_COUNT when T is not the model's, ERR_SHAPE
   */
  encodeVideo(frames: Tensor, mode: Mode = evaluation): VideoFeatures {
    checkMode('encodeVideo', mode);
    this.checkFrames(frames);
    if (mode.training || mode.trace || !this.recordedVideo) return this.computeVideo(frames, mode);
    return this.recordedVideo.run(frames);
  }

  private computeVideo(frames: Tensor, mode: Mode): VideoFeatures {
    return scope(() => {
      const dtype = this.computeDtype;
      const { classes, patches } = this.visual.forward(frames, dtype, mode);
      const normed = this.prompts_visual_ln.forward(patches);
      mode.trace?.('prompts.visual_ln', normed);
      const [sequences, count, width] = normed.shape as [number, number, number];
      const { frames: T } = this.geometry;
      // The projection is linear, so the mean over frames may come first: T times fewer products.
      const average = mean(reshape(normed, [sequences / T, T, count, width]), 1);
      const projected = matmul(average, inDtype(this.prompts_visual_proj, dtype));
      mode.trace?.('prompts.img_features_mean', projected);
      return { video: this.mit.forward(classes, mode), patches: projected };
    });
  }

  /** Scores of each clip for each text, float32 [B, K]: scaled cosines with the texts as prompted by the clip. */
  score(features: VideoFeatures, text: Tensor, mode: Mode = evaluation): Tensor {
    checkMode('score', mode);
    if (mode.training || mode.trace || !this.recordedScore) return this.computeScore(features, text, mode);
    return this.recordedScore.run(features.video, features.patches, text).logits;
  }

  private computeScore({ video, patches }: VideoFeatures, text: Tensor, mode: Mode): Tensor {
    return scope(() => {
      const [classes, width] = text.shape as [number, number];
      const batch = video.dim(0);
      const plain = reshape(text, [1, classes, width]);
      const prompt = this.prompts_generator.forward(inDtype(plain, this.computeDtype), patches, mode);
      const texts = l2Normalize(add(prompt, plain));
      mode.trace?.('final.text', texts);
      const videos = l2Normalize(inDtype(video, 'float32'));
      mode.trace?.('final.video', videos);
      const cosines = matmul(reshape(videos, [batch, 1, width]), texts, { transposeB: true });
      const logits = mul(reshape(cosines, [batch, classes]), exp(this.logit_scale));
      mode.trace?.('logits', logits);
      return logits;
    });
  }

  /**
   * @param frames normalised pixels, float32 [B, T, 3, H, W]
   * @param tokens [K, 77], from `tokenize` or an int tensor
   * @returns logits, float32 [B, K]
   * @throws ERR_FRAME_COUNT, ERR_SHAPE, ERR_TEXT_TOO_LONG
   */
  forward(frames: Tensor, tokens: TextInput, mode: Mode = evaluation): Tensor {
    checkMode('forward', mode);
    this.checkFrames(frames);
    return scope(() => this.score(this.encodeVideo(frames, mode), this.encodeText(tokens, mode), mode));
  }

  /**
   * What {@link forward} computes on its way: features of frames, of the video and of texts, hidden states. Gradients flow
   * through them. Nothing is computed for texts, which may be null, when all that is asked for is of the video.
   *
   * @param frames normalised pixels, float32 [B, T, 3, H, W]
   * @param tokens [K, 77], from `tokenize` or an int tensor
   * @param names which of {@link XclipOutputs}
   * @throws ERR_ARGUMENT for a name that there is none of, or texts that are missing; what `forward` throws
   *
   * @example
   * const frames = await model.loadFrames('clip.mp4');
   * const { frameFeatures, logits } = model.outputs(frames, tokenize(names), ['frameFeatures', 'logits']);
   * console.log(frameFeatures.shape); // [B, T, E]
   */
  outputs<Name extends keyof XclipOutputs>(
    frames: Tensor,
    tokens: TextInput | null,
    names: readonly Name[],
    mode: Mode = evaluation,
  ): Pick<XclipOutputs, Name> {
    checkMode('outputs', mode);
    return outputsOf(this, frames, tokens, names, mode);
  }

  /**
   * Which of the named classes a video shows: class names in, probabilities out, ranked. An array of videos gives a list for
   * each. Views (clips x crops) are averaged.
   *
   * @param video a path, the bytes of a file, an open file, a byte range of one, an open {@link VideoReader}, or pictures
   * @throws ERR_LABELS, ERR_TEXT_TOO_LONG, ERR_ARGUMENT, ERR_FRAME_RANGE, ERR_FILE_NOT_FOUND, ERR_VIDEO_FORMAT and its kin,
   *   ERR_SYSTEM, ERR_ABORTED
   *
   * @example
   * const [best] = await model.classify('match.mp4', names, { seconds: [60, 64], topK: 1 });
   * const width = 320;
   * const height = 240;
   * const camera = new Uint8Array(16 * height * width * 3); // 16 RGB pictures
   * const shown = await model.classify({ frames: camera, width, height }, names);
   */
  classify(video: Footage, names: readonly string[], options?: ClassifyOptions): Promise<Classification[]>;
  classify(
    videos: readonly Footage[],
    names: readonly string[],
    options?: ClassifyOptions,
  ): Promise<Classification[][]>;
  async classify(
    videos: Footage | readonly Footage[],
    names: readonly string[],
    options: ClassifyOptions = {},
  ): Promise<Classification[] | Classification[][]> {
    if (isSeveral(videos)) return classify(this, videos, names, options);
    return (await classify(this, [videos], names, options))[0]!;
  }

  /**
   * {@link classify} of many videos, each as soon as it is known, in their order. The next ones are read meanwhile. One that
   * cannot be read has an error in the place of its classes and does not keep the others from being named; what is not the
   * fault of a video ends the loop.
   *
   * @throws what {@link classify} throws and no video is to blame for
   *
   * @example
   * for await (const { video, classes, error } of model.classifyEach(['a.mp4', 'b.mp4'], names, { topK: 1 })) {
   *   console.log(video, error ? error.message : classes[0].label);
   * }
   */
  classifyEach(
    videos: readonly Footage[],
    names: readonly string[],
    options: ClassifyOptions = {},
  ): AsyncGenerator<VideoClasses, void> {
    return classifyEach(this, videos, names, options);
  }

  /**
   * What a long video shows, one window of time after the other, each as soon as it is known. Pictures that are still coming
   * (a camera's, another program's output) do too: a window is looked at when it is over, while the next one comes in. No more of
   * them are kept than that takes; where the model does not keep up they are not read, so the source has to wait. Leaving the
   * loop ends the stream.
   *
   * @throws what {@link classify} throws; ERR_SHAPE when a stream ends within a picture, and what the stream throws
   *
   * @example
   * for await (const { from, to, classes } of model.timeline('match.mp4', names, { window: 4, stride: 2, topK: 1 })) {
   *   console.log(`${from} to ${to} s: ${classes[0].label}`);
   * }
   *
   * // ffmpeg -i rtsp://camera -vf scale=340:256 -r 16 -f rawvideo -pix_fmt rgb24 - | node this.mjs
   * const camera = { stream: process.stdin, width: 340, height: 256, fps: 16 };
   * for await (const { from, classes } of model.timeline(camera, names, { window: 2 })) console.log(from, classes[0].label);
   */
  timeline(
    video: Footage | LivePictures,
    names: readonly string[],
    options: TimelineOptions,
  ): AsyncGenerator<TimelineEntry, void> {
    return timeline(this, video, names, options);
  }

  /**
   * The views of a video as {@link forward} and {@link outputs} take them, float32 [V, T, 3, S, S] on the model's device;
   * with several crops, the clips of the first crop come first. Videos are those of {@link classify}.
   *
   * @throws what {@link classify} throws of a video
   *
   * @example
   * const frames = await model.loadFrames('clip.mp4');
   * const { frameFeatures } = model.outputs(frames, null, ['frameFeatures']);
   */
  loadFrames(video: Footage, options: ViewOptions = {}): Promise<Tensor> {
    return loadFrames(this, video, options);
  }

  /** The unit-length feature of a video, [E]; with several views that of their mean. Videos are those of {@link classify}. */
  embedVideo(video: Footage, options: ViewOptions = {}): Promise<Float32Array> {
    return embedVideo(this, video, options);
  }

  /** Unit-length features of texts, one [E] each, before any video prompts them. */
  embedText(texts: readonly string[]): Promise<Float32Array[]> {
    return embedTexts(this, texts);
  }

  /** Gives back what was recorded on CUDA and its device memory; what comes again is recorded anew. */
  releaseRecordings(): void {
    this.recordedVideo?.dispose();
    this.recordedScore?.dispose();
  }

  override dispose(): void {
    this.releaseRecordings();
    this.textCache.clear();
    super.dispose();
  }

  private checkAlive(): void {
    if (this.logit_scale.disposed) throw new CodedError('ERR_DISPOSED', 'the model was disposed before');
  }

  private checkFrames(frames: Tensor): void {
    this.checkAlive();
    checkTensor('forward', 'frames', frames);
    if (frames.dtype === 'uint8' || frames.dtype === 'int32' || frames.dtype === 'int64')
      throw new CodedError(
        'ERR_DTYPE',
        `frames must be normalised pixels in float32, got ${describe(frames)}`,
      );
    const { frames: T, imageSize } = this.geometry;
    const [, count, ...image] = frames.shape;
    if (frames.rank === 5 && count !== T) {
      throw new CodedError(
        'ERR_FRAME_COUNT',
        `the model takes clips of ${T} frames, got ${count} (${describe(frames)}); sample ${T} frames`,
      );
    }
    if (frames.rank !== 5 || String(image) !== String([3, imageSize, imageSize])) {
      throw new CodedError(
        'ERR_SHAPE',
        `frames must be [B, ${T}, 3, ${imageSize}, ${imageSize}], got ${describe(frames)}`,
      );
    }
  }
}

/** Arrays that only read are no arrays to Array.isArray's type. */
function isSeveral(videos: Footage | readonly Footage[]): videos is readonly Footage[] {
  return Array.isArray(videos);
}
