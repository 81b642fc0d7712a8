import { wrongKind } from '../base/check';
import { CodedError } from '../base/error';
import type { Config } from '../config/schema';
import type { Geometry } from './xclip/geometry';

/** Sizes of an architecture; the number of frames is free. */
export type Architecture = Omit<Geometry, 'arch' | 'frames'>;

/** Channels per attention head, in every part of every published model. */
export const HEAD_WIDTH = 64;

const base32: Architecture = {
  embedDim: 512,
  imageSize: 224,
  patch: 32,
  visionWidth: 768,
  visionLayers: 12,
  visionHeads: 12,
  textWidth: 512,
  textLayers: 12,
  textHeads: 8,
  contextLength: 77,
  vocabSize: 49408,
  mitLayers: 1,
  mitHeads: 8,
  promptLayers: 2,
  promptHeads: 8,
  promptAlpha: 0.1,
};
const large14: Architecture = {
  ...base32,
  embedDim: 768,
  patch: 14,
  visionWidth: 1024,
  visionLayers: 24,
  visionHeads: 16,
  textWidth: 768,
  textHeads: 12,
  mitHeads: 12,
  promptHeads: 12,
};

/** The published architectures by the names of their image-text models. */
export const ZOO: Readonly<Record<Exclude<Config['MODEL']['ARCH'], 'custom'>, Architecture>> = {
  'ViT-B/32': base32,
  'ViT-B/16': { ...base32, patch: 16 },
  'ViT-L/14': large14,
  'ViT-L/14@336px': { ...large14, imageSize: 336 },
};

/**
 * The model that a configuration asks for.
 *
 * @throws ERR_CONFIG_VALUE when DATA.INPUT_SIZE is not the input of the architecture
 *
 * @example
 * geometryOf(loadConfig({ cfg: 'configs/k400/16_8.yaml' })).visionWidth; // 768
 */
export function geometryOf(config: Config): Geometry {
  checkConfig('geometryOf', config);
  const { DATA, MODEL } = config;
  if (MODEL.ARCH === 'custom') return customGeometry({ DATA, MODEL });
  const architecture = ZOO[MODEL.ARCH];
  if (DATA.INPUT_SIZE !== architecture.imageSize) {
    throw new CodedError(
      'ERR_CONFIG_VALUE',
      `DATA.INPUT_SIZE is ${DATA.INPUT_SIZE}, but ${MODEL.ARCH} takes ${architecture.imageSize}; set it to that`,
    );
  }
  return { arch: MODEL.ARCH, frames: DATA.NUM_FRAMES, ...architecture };
}

function customGeometry({ DATA, MODEL }: Pick<Config, 'DATA' | 'MODEL'>): Geometry {
  const custom = MODEL.CUSTOM;
  if (custom === null)
    throw new CodedError('ERR_CONFIG_VALUE', 'MODEL.ARCH is custom, but MODEL.CUSTOM is empty');
  return {
    arch: 'custom',
    frames: DATA.NUM_FRAMES,
    embedDim: custom.embed_dim,
    imageSize: DATA.INPUT_SIZE,
    patch: custom.patch,
    visionWidth: custom.vision_width,
    visionLayers: custom.vision_layers,
    visionHeads: custom.vision_width / HEAD_WIDTH,
    textWidth: custom.text_width,
    textLayers: custom.text_layers,
    textHeads: custom.text_width / HEAD_WIDTH,
    contextLength: custom.context_length,
    vocabSize: custom.vocab_size,
    mitLayers: custom.mit_layers,
    mitHeads: custom.embed_dim / HEAD_WIDTH,
    promptLayers: custom.prompt_layers,
    promptHeads: custom.embed_dim / HEAD_WIDTH,
    promptAlpha: custom.prompt_alpha,
  };
}

/** Name of the published architecture with these sizes, or `custom`. The initial prompt weight does not count. */
export function archOf(sizes: Architecture): string {
  const keys = Object.keys(base32).filter((key) => key !== 'promptAlpha') as (keyof Architecture)[];
  const match = Object.entries(ZOO).find(([, known]) => keys.every((key) => known[key] === sizes[key]));
  return match?.[0] ?? 'custom';
}

/** @throws ERR_ARGUMENT for what is no configuration at all */
export function checkConfig(what: string, config: unknown): asserts config is Config {
  const { DATA, MODEL } = (config ?? {}) as Partial<Config>;
  if (!DATA || !MODEL) throw wrongKind(what, 'config', 'a configuration, as loadConfig() gives it', config);
}
