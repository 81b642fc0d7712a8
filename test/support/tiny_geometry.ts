import type { Geometry } from '../../lib/models/xclip/geometry';

/** The model of the golden tiny checkpoints. */
export const TINY: Geometry = {
  arch: 'custom',
  frames: 4,
  embedDim: 128,
  imageSize: 32,
  patch: 8,
  visionWidth: 128,
  visionLayers: 3,
  visionHeads: 2,
  textWidth: 128,
  textLayers: 2,
  textHeads: 2,
  contextLength: 77,
  vocabSize: 600,
  mitLayers: 1,
  mitHeads: 2,
  promptLayers: 2,
  promptHeads: 2,
  promptAlpha: 0.1,
};
