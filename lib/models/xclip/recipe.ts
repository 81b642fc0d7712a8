import { CodedError } from '../../base/error';
import type { Config } from '../../config/schema';
import type { Device } from '../../native/device';
import type { Mode } from '../../nn/module';
import { crossEntropy } from '../../ops';
import type { Tensor } from '../../tensor/tensor';
import type { Tokens } from '../clip/tokenizer';
import type { ComputeDtype } from '../dtype';
import type { ParameterGroup, Task, TaskOptions } from '../task';
import { archOf, geometryOf } from '../zoo';
import { tokensFor } from './classify';
import { checkGeometry, type Geometry } from './geometry';
import { loadPretrained, openWeights } from './weights';
import { XCLIP } from './xclip';

/** Parts of a name that stay trainable with a fixed text tower. */
const VIDEO_SIDE = ['visual.', 'mit', 'prompts'];

/** Kinds of parameters in the order of their groups; a name belongs to the first kind whose word it contains. */
const KINDS = [
  { kind: 'message', word: 'message_' },
  { kind: 'mit', word: 'mit' },
  { kind: 'prompts', word: 'prompts' },
] as const;
type Kind = (typeof KINDS)[number]['kind'] | 'clip' | 'text';
const GROUP_ORDER: readonly Kind[] = ['clip', 'text', 'mit', 'prompts', 'message'];

/**
 * X-CLIP trained as the reference trains it (paper, section 4.1): class names as texts without a template, text tower
 * fixed or not, cross entropy, and groups of parameters with their own learning rates.
 */
export class XclipTask implements Task {
  readonly name = 'xclip';
  readonly frames: number;
  readonly inputSize: number;
  readonly computeDtype: ComputeDtype;
  private readonly tokens: Tokens;

  constructor(
    readonly model: XCLIP,
    readonly classNames: readonly string[],
    private readonly checkpoint: boolean,
  ) {
    this.frames = model.geometry.frames;
    this.inputSize = model.geometry.imageSize;
    this.computeDtype = model.computeDtype;
    this.tokens = tokensFor(model, classNames);
  }

  forward(frames: Tensor, mode: Mode): Tensor {
    const checkpoint = mode.checkpoint ?? (this.checkpoint && mode.training);
    return this.model.forward(frames, this.tokens, { ...mode, checkpoint });
  }

  loss(logits: Tensor, targets: Tensor, config: Config): Tensor {
    // Soft targets were smoothed when they were made.
    const labelSmoothing = targets.dtype === 'float32' ? 0 : config.AUG.LABEL_SMOOTH;
    return crossEntropy(logits, targets, { labelSmoothing });
  }

  parameterGroups(config: Config): ParameterGroup[] {
    return parameterGroups(this.model, config);
  }

  async load(path: string, options: { signal?: AbortSignal } = {}): Promise<void> {
    const { state, geometry, close } = await openWeights(path);
    try {
      const named = (sizes: Geometry): Geometry => ({ ...sizes, arch: archOf(sizes) });
      checkGeometry(named(geometry), named(this.model.geometry), path);
      await this.model.loadStateDict(state, { source: path, ...options });
    } finally {
      await close();
    }
  }

  releaseRecordings(): void {
    this.model.releaseRecordings();
  }

  dispose(): void {
    this.model.dispose();
  }
}

/**
 * The task that a configuration asks for: an X-CLIP model, its text tower frozen when MODEL.FIX_TEXT, started from
 * MODEL.PRETRAINED when that is set, and from values for learning from nothing otherwise.
 *
 * @throws ERR_LABELS when the names are not MODEL's number of classes; ERR_CONFIG_VALUE; what loading weights throws
 */
export async function createXclipTask(
  config: Config,
  classNames: readonly string[],
  options: TaskOptions = {},
): Promise<Task> {
  const { DATA, MODEL, TRAIN, TEST, SEED } = config;
  if (classNames.length !== DATA.NUM_CLASSES) {
    throw new CodedError(
      'ERR_LABELS',
      `${DATA.LABEL_LIST} names ${classNames.length} classes, but DATA.NUM_CLASSES is ${DATA.NUM_CLASSES}; ` +
        'set it to the number of names, or choose another list',
    );
  }
  const model = new XCLIP(geometryOf(config), {
    device: options.device ?? (MODEL.DEVICE as Device),
    seed: SEED,
    init: MODEL.PRETRAINED === null && MODEL.ARCH === 'custom' ? 'scratch' : 'finetune',
    computeDtype: TRAIN.OPT_LEVEL === 'O0' ? 'float32' : (TRAIN.AMP_DTYPE as ComputeDtype),
    dropPathRate: MODEL.DROP_PATH_RATE,
    cudaGraph: TEST.CUDA_GRAPH,
  });
  try {
    if (MODEL.PRETRAINED !== null) await loadPretrained(model, MODEL.PRETRAINED, { signal: options.signal });
    if (MODEL.FIX_TEXT) model.freeze((name) => !VIDEO_SIDE.some((part) => name.includes(part)));
    return new XclipTask(model, classNames, TRAIN.USE_CHECKPOINT);
  } catch (error) {
    model.dispose();
    throw error;
  }
}

/**
 * Trainable parameters by kind (those of the image-text model, multi-frame integration, prompts, messages) and by
 * whether they decay, in the order of the reference's optimizer. TRAIN.TEXT_LR_SCALE or TEXT_LR_RAMP, when set, put
 * the text tower's into groups of their own behind the first two.
 */
export function parameterGroups(model: XCLIP, config: Config): ParameterGroup[] {
  const { LR, LR_SCALE_NEW, WEIGHT_DECAY, TEXT_LR_SCALE, TEXT_LR_RAMP } = config.TRAIN;
  const ownTextGroup = TEXT_LR_SCALE !== 1 || TEXT_LR_RAMP;
  const trainable = [...model.namedParameters()]
    .filter(([, tensor]) => tensor.requiresGrad)
    .map(([name, tensor]) => ({ name, tensor, kind: kindOf(name, ownTextGroup) }));
  return GROUP_ORDER.flatMap((kind) =>
    [true, false].map((decays): ParameterGroup => {
      const members = trainable.filter((p) => p.kind === kind && decay(p.name, p.tensor) === decays);
      return {
        name: `${kind} ${decays ? 'decay' : 'no-decay'}`,
        params: members.map(({ name, tensor }) => ({ name, tensor })),
        lr: kind === 'clip' || kind === 'text' ? LR : LR * LR_SCALE_NEW,
        weightDecay: decays ? WEIGHT_DECAY : 0,
        ...(kind === 'text' ? { lrScale: TEXT_LR_SCALE, ramp: TEXT_LR_RAMP } : {}),
      };
    }),
  ).filter((group) => group.params.length > 0);
}

function kindOf(name: string, ownTextGroup: boolean): Kind {
  const found = KINDS.find(({ word }) => name.includes(word));
  if (found) return found.kind;
  return ownTextGroup && !name.startsWith('visual.') && name !== 'logit_scale' ? 'text' : 'clip';
}

function decay(name: string, { rank }: Tensor): boolean {
  return rank !== 1 && !name.endsWith('.bias') && !name.includes('positional_embedding');
}
