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
