import { checkNumber, checkSize, wrongKind } from '../../base/check';
import { CodedError } from '../../base/error';
import { archOf, HEAD_WIDTH } from '../zoo';
import { isVideoParameter, parameterShapes } from './parameters';

/** Sizes that define an X-CLIP model. Widths are in channels, `imageSize` and `patch` in pixels. */
export interface Geometry {
  /** Name in the zoo (`ViT-B/32`, ...) or `custom`. */
  arch: string;
  /** Frames per clip, T. */
  frames: number;
  /** Width E of the space that videos and texts share. */
  embedDim: number;
  /** Side of the square input. */
  imageSize: number;
  patch: number;
  visionWidth: number;
  visionLayers: number;
  visionHeads: number;
  textWidth: number;
  textLayers: number;
  textHeads: number;
  /** Tokens per text. */
  contextLength: number;
  vocabSize: number;
  /** Layers and heads of the multi-frame integration transformer (MIT). */
  mitLayers: number;
  mitHeads: number;
  /** Layers and heads of the video-specific prompt generator. */
  promptLayers: number;
  promptHeads: number;
  /** Initial weight of the prompts. */
  promptAlpha: number;
}

/** @throws ERR_ARGUMENT for what is no geometry, such as an architecture of the zoo without a number of frames */
export function checkGeometrySizes(geometry: Geometry): void {
  if (typeof geometry !== 'object' || geometry === null)
    throw wrongKind('XCLIP', 'geometry', 'an object, as geometryOf() gives it', geometry);
  const { arch, promptAlpha, visionLayers, textLayers, mitLayers, promptLayers, ...sizes } = geometry;
  for (const name of SIZES) checkSize('XCLIP', `geometry.${name}`, sizes[name]);
  for (const [name, count] of Object.entries({ visionLayers, textLayers, mitLayers, promptLayers }))
    checkSize('XCLIP', `geometry.${name}`, count, 0);
  checkNumber('XCLIP', 'geometry.promptAlpha', promptAlpha);
}

const SIZES = [
  'frames',
  'embedDim',
  'imageSize',
  'patch',
  'visionWidth',
  'visionHeads',
  'textWidth',
  'textHeads',
  'contextLength',
  'vocabSize',
  'mitHeads',
  'promptHeads',
] as const;

/** Tensors of a checkpoint, as far as their sizes go. */
export type ShapeTable = ReadonlyMap<string, { readonly shape: readonly number[] }>;

/** Tensors that old exports hold beside the weights. */
const IGNORED = ['input_resolution', 'context_length', 'vocab_size'];

/**
 * Reads the geometry of a model off the names and shapes of its weights, and checks that every parameter is there with
 * the shape that follows. Heads are always 64 wide; the initial prompt weight, which shapes do not tell, is given as 0.1.
 *
 * @param source names the checkpoint in messages
 * @throws ERR_CHECKPOINT_MISMATCH for weights of an image-text model (they belong into MODEL.PRETRAINED), of another
 *   kind of model, or with missing, surplus or odd-shaped tensors
 */
export function inferGeometry(tensors: ShapeTable, source = 'checkpoint'): Geometry {
  if (!tensors.has('mit.positional_embedding') && tensors.has('visual.proj')) {
    refuse(
      source,
      'holds an image-text model without video parts; give it as --pretrained (MODEL.PRETRAINED)',
    );
  }
  const [, frames] = shapeOf(tensors, 'mit.positional_embedding', 3, source);
  const geometry = inferTowers(tensors, source, frames!);
  checkShapes(tensors, parameterShapes(geometry), source);
  return geometry;
}

/**
 * Reads the towers of an image-text model (for MODEL.PRETRAINED): the geometry of the video model of T = `frames`
 * frames that starts from it, its video parts in the published sizes.
 *
 * @throws ERR_CHECKPOINT_MISMATCH as {@link inferGeometry}
 */
export function inferPretrainedGeometry(tensors: ShapeTable, source: string, frames: number): Geometry {
  const geometry = inferTowers(tensors, source, frames);
  const shared = [...parameterShapes(geometry)].filter(([name]) => !isVideoParameter(name));
  checkShapes(tensors, new Map(shared), source);
  return geometry;
}

function inferTowers(tensors: ShapeTable, source: string, frames: number): Geometry {
  const shape = (name: string, rank: number) => shapeOf(tensors, name, rank, source);
  const [visionWidth, embedDim] = shape('visual.proj', 2) as [number, number];
  const [, , patch] = shape('visual.conv1.weight', 4) as [number, number, number];
  const [tokens] = shape('visual.positional_embedding', 2) as [number];
  const [contextLength, textWidth] = shape('positional_embedding', 2) as [number, number];
  const [vocabSize] = shape('token_embedding.weight', 2) as [number];
  const grid = Math.round(Math.sqrt(tokens - 1));
  if (grid < 1 || grid * grid !== tokens - 1) {
    refuse(
      source,
      `visual.positional_embedding has ${tokens} rows, which is not a square grid and a class token`,
    );
  }
  for (const [name, width] of Object.entries({ visionWidth, textWidth, embedDim })) {
    if (width % HEAD_WIDTH !== 0) refuse(source, `its ${name} ${width} is not a multiple of ${HEAD_WIDTH}`);
  }
  const hasVideoParts = tensors.has('mit.positional_embedding');
  const sizes = {
    embedDim,
    imageSize: grid * patch,
    patch,
    visionWidth,
    visionLayers: countLayers(tensors, 'visual.transformer.resblocks', source),
    visionHeads: visionWidth / HEAD_WIDTH,
    textWidth,
    textLayers: countLayers(tensors, 'transformer.resblocks', source),
    textHeads: textWidth / HEAD_WIDTH,
    contextLength,
    vocabSize,
    mitLayers: hasVideoParts ? countLayers(tensors, 'mit.resblocks', source) : 1,
    mitHeads: embedDim / HEAD_WIDTH,
    promptLayers: hasVideoParts ? countLayers(tensors, 'prompts_generator.decoder', source) : 2,
    promptHeads: embedDim / HEAD_WIDTH,
    promptAlpha: 0.1,
  };
  return { arch: archOf(sizes), frames, ...sizes };
}

/** What a user changes so that a size fits. */
const SETTINGS: Partial<Record<keyof Geometry, string>> = {
  arch: 'MODEL.ARCH',
  frames: 'DATA.NUM_FRAMES',
  imageSize: 'DATA.INPUT_SIZE',
};

/**
 * Checks that a checkpoint's model is the one a configuration asks for.
 *
 * @throws ERR_CHECKPOINT_MISMATCH with every difference and the keys to set
 */
export function checkGeometry(found: Geometry, wanted: Geometry, source: string): void {
  const keys = (Object.keys(wanted) as (keyof Geometry)[]).filter((key) => key !== 'promptAlpha');
  const differing = keys.filter((key) => found[key] !== wanted[key]);
  if (differing.length === 0) return;
  const named = differing.filter((key) => SETTINGS[key]);
  const shown = named.length > 0 ? named : differing;
  const differences = shown.map((key) => `${key} ${found[key]} (configured: ${wanted[key]})`).join(', ');
  const settings = named.map((key) => `${SETTINGS[key]} ${found[key]}`).join(' ');
  const remedy =
    differing.includes('arch') && found.arch === 'custom'
      ? 'take the configuration that it was trained with, config.yaml in the folder of that run'
      : `set ${settings || 'the sizes in MODEL.CUSTOM to match'}`;
  refuse(source, `holds a model with ${differences}; ${remedy}, or take another checkpoint`);
}

function checkShapes(
  tensors: ShapeTable,
  expected: ReadonlyMap<string, readonly number[]>,
  source: string,
): void {
  const missing = [...expected.keys()].filter((name) => !tensors.has(name));
  if (missing.length > 0) refuse(source, `lacks ${some(missing)}`);
  for (const [name, shape] of expected) {
    const found = tensors.get(name)!.shape;
    if (found.length !== shape.length || found.some((extent, i) => extent !== shape[i])) {
      refuse(source, `${name} has shape [${found}], but the model's other tensors ask for [${shape}]`);
    }
  }
  const surplus = [...tensors.keys()].filter((name) => !expected.has(name) && !IGNORED.includes(name));
  if (surplus.length > 0) refuse(source, `has tensors that belong to no part of the model: ${some(surplus)}`);
}

function shapeOf(tensors: ShapeTable, name: string, rank: number, source: string): readonly number[] {
  const shape = tensors.get(name)?.shape;
  if (shape === undefined) refuse(source, `lacks ${name}; it is not a checkpoint of this model`);
  if (shape.length !== rank || shape.some((extent) => extent < 1)) {
    refuse(source, `${name} has shape [${shape}], expected ${rank} extents of at least 1`);
  }
  return shape;
}

/** Layers `prefix.0`, `prefix.1`, … without a gap. */
function countLayers(tensors: ShapeTable, prefix: string, source: string): number {
  const found = new Set<string>();
  for (const name of tensors.keys()) {
    if (name.startsWith(`${prefix}.`)) found.add(name.slice(prefix.length + 1).split('.', 1)[0]!);
  }
  if (found.size === 0) refuse(source, `has no ${prefix}.0; it is not a checkpoint of this model`);
  for (let i = 0; i < found.size; i++) {
    if (!found.has(String(i)))
      refuse(source, `lacks ${prefix}.${i}, though it has ${found.size} such layers`);
  }
  return found.size;
}

function some(names: string[]): string {
  const shown = names.slice(0, 5).join(', ');
  return names.length > 5 ? `${shown} and ${names.length - 5} more` : shown;
}

function refuse(source: string, problem: string): never {
  throw new CodedError('ERR_CHECKPOINT_MISMATCH', `${source}: ${problem}`);
}
