import {
  choice,
  flag,
  integer,
  list,
  number,
  optional,
  optionalText,
  pattern,
  text,
  type ValuesOf,
} from './fields';

/** Names of published architectures (MODEL.ARCH); "custom" takes its geometry from MODEL.CUSTOM. */
export const ARCHITECTURES = ['ViT-B/32', 'ViT-B/16', 'ViT-L/14', 'ViT-L/14@336px', 'custom'] as const;

/**
 * Every configuration key with its default, type and range. Keys and defaults are those of the reference
 * configuration; "ours" marks the ones that this package adds, which by default change nothing.
 */
export const SCHEMA = {
  /** Files that this one builds on, relative to it, applied in order before it. Only in files. */
  BASE: list([''], text('')),

  DATA: {
    /** Where the videos are: a folder that names in lists are relative to, a .tar, a .zip, or shards `x-{000..146}.tar`. */
    ROOT: text(''),
    /** List of training videos: lines "name label", or JSON; or archives with a label beside each video. */
    TRAIN_FILE: text(''),
    /** List of validation videos. */
    VAL_FILE: text(''),
    /** Name of the data set, for the log. */
    DATASET: text('kinetics400'),
    /** Side of the square frames that the model sees, in pixels. */
    INPUT_SIZE: integer(224, { min: 1 }),
    /** Frames per clip (T). */
    NUM_FRAMES: integer(8, { min: 1 }),
    /** Number of classes (K). */
    NUM_CLASSES: integer(400, { min: 1 }),
    /** CSV file "id,name" with the class names, or the names themselves, separated by commas. */
    LABEL_LIST: text('labels/kinetics_400_labels.csv'),
    /** Ours: decoding threads. Results do not depend on it. */
    NUM_WORKERS: integer(2, { min: 1 }),
    /** Ours: what a video that cannot be read does: stop the run, leave the batch smaller, or lend its neighbour. */
    ON_ERROR: choice('fail', ['fail', 'skip', 'substitute']),
    /** Ours: with skip or substitute, a run ends when more than this share of an epoch's videos cannot be read. */
    MAX_BAD_SHARE: number(0.5, { min: 0, below: 1 }),
    /** Ours: seconds that opening a video may take, and again decoding it; one that takes longer cannot be read. */
    DEADLINE: integer(60, { min: 1, max: 86400 }),
    /** Ours: how training frames are drawn; "official" is one random frame in each of T equal segments. */
    SAMPLING: choice('official', ['official']),
  },

  MODEL: {
    /** Architecture of the image and text towers. */
    ARCH: choice('ViT-B/32', ARCHITECTURES),
    /** Largest probability of dropping a residual branch; it rises linearly from 0 over the layers. */
    DROP_PATH_RATE: number(0, { min: 0, below: 1 }),
    /** Image-text weights to start from. */
    PRETRAINED: optionalText(),
    /** Checkpoint to continue or to test. */
    RESUME: optionalText(),
    /** Keep the text tower as it is, and encode the class names only once. */
    FIX_TEXT: flag(true),
    /** Ours: where to compute: "auto", "cpu", "cuda" or "cuda:N". */
    DEVICE: pattern('auto', /^(auto|cpu|cuda(:\d+)?)$/, 'auto, cpu, cuda or cuda:N'),
    /** Ours: the geometry when ARCH is "custom"; what is left out is that of ViT-B/32. Heads are width / 64. */
    CUSTOM: optional({
      /** Size of the space in which video and text meet. */
      embed_dim: integer(512, { min: 64, multipleOf: 64 }),
      /** Side of a patch in pixels; DATA.INPUT_SIZE is a multiple of it. */
      patch: integer(32, { min: 1 }),
      vision_width: integer(768, { min: 64, multipleOf: 64 }),
      vision_layers: integer(12, { min: 1 }),
      text_width: integer(512, { min: 64, multipleOf: 64 }),
      text_layers: integer(12, { min: 1 }),
      /** Tokens per text, start and end included. */
      context_length: integer(77, { min: 2 }),
      /** Layers of the multi-frame integration transformer. */
      mit_layers: integer(1, { min: 1 }),
      /** Layers of the prompt generator. */
      prompt_layers: integer(2, { min: 1 }),
      /** Initial weight of the video-specific prompt. */
      prompt_alpha: number(0.1),
      vocab_size: integer(49408, { min: 3 }),
    }),
  },

  TRAIN: {
    EPOCHS: integer(30, { min: 1 }),
    /** Epochs of linear warm-up from 0; fractions are fine. */
    WARMUP_EPOCHS: number(5, { min: 0 }),
    WEIGHT_DECAY: number(0.001, { min: 0 }),
    /** Learning rate of the weights that come from the image-text model. */
    LR: number(8e-6, { min: 0 }),
    /** Videos per process and step. */
    BATCH_SIZE: integer(8, { min: 1 }),
    /** Steps whose gradients are added up before an update. */
    ACCUMULATION_STEPS: integer(1, { min: 1 }),
    LR_SCHEDULER: choice('cosine', ['cosine']),
    OPTIMIZER: choice('adamw', ['adamw']),
    /** Precision: O0 is float32, O1 mixed with float32 master weights. */
    OPT_LEVEL: choice('O1', ['O0', 'O1']),
    /** Ours: the 16-bit type of O1. float16 has more digits and needs CUDA; its loss is scaled dynamically. */
    AMP_DTYPE: choice('bfloat16', ['bfloat16', 'float16']),
    /** Ours: "high" lets tensor cores multiply float32 in tf32 on CUDA, which is faster and rounds to 10 bits. */
    FLOAT32_MATMUL: choice('highest', ['highest', 'high']),
    /** Continue from the newest checkpoint in OUTPUT. */
    AUTO_RESUME: flag(false),
    /** Recompute activations in the backward pass instead of keeping them. */
    USE_CHECKPOINT: flag(false),
    /**
     * Ours: on CUDA, record the training step once and replay it (CUDA graphs). The numbers are the same; without it each
     * operation is launched by itself, and the loss is waited for before an update.
     */
    CUDA_GRAPH: flag(true),
    /** Ours: largest norm of all gradients together; 0 is no limit. */
    CLIP_GRAD: number(0, { min: 0 }),
    /** Ours: AdamW's decay rates of the two moments. */
    BETAS: list([0.9, 0.98], number(0, { min: 0, below: 1 }), 2),
    /** Ours: factor on the learning rate of the text tower, when it is trained. */
    TEXT_LR_SCALE: number(1, { min: 0 }),
    /** Ours: raise the text tower's factor linearly from 0 over the whole run. */
    TEXT_LR_RAMP: flag(false),
    /** Ours: factor on the learning rate of the parts that the image-text model does not have. */
    LR_SCALE_NEW: number(10, { min: 0 }),
  },

  AUG: {
    LABEL_SMOOTH: number(0.1, { min: 0, below: 1 }),
    /** Probability of colour jitter. */
    COLOR_JITTER: number(0.8, { min: 0, max: 1 }),
    /** Probability of turning grey. */
    GRAY_SCALE: number(0.2, { min: 0, max: 1 }),
    /** Beta distribution parameter of mixup; 0 is off. */
    MIXUP: number(0.8, { min: 0 }),
    /** Beta distribution parameter of cutmix; 0 is off. */
    CUTMIX: number(1, { min: 0 }),
    /** Probability of cutmix instead of mixup when both are on. */
    MIXUP_SWITCH_PROB: number(0.5, { min: 0, max: 1 }),
    /** Ours: probability of a horizontal flip; 0 where left and right matter. */
    FLIP: number(0.5, { min: 0, max: 1 }),
    /** Ours: crop at one of five places in one of several sizes. Without it the crop is INPUT_SIZE, moved by SHIFT. */
    MULTI_SCALE_CROP: flag(true),
    /** Ours: largest shift from the centre in pixels, when MULTI_SCALE_CROP is off. */
    SHIFT: integer(0, { min: 0 }),
  },

  TEST: {
    /** Clips per video, scores added. */
    NUM_CLIP: integer(1, { min: 1 }),
    /** Crops per clip: the centre, or left, right and middle. */
    NUM_CROP: integer(1, { min: 1, max: 3 }),
    /** Evaluate and stop. */
    ONLY_TEST: flag(false),
    /** Ours: videos per step. */
    BATCH_SIZE: integer(2, { min: 1 }),
    /** Ours: draw the frames of several clips at random as the reference does, instead of evenly placed. */
    REFERENCE_SAMPLING: flag(false),
    /**
     * Ours: on CUDA, record the video side of the model for each batch size and replay it (CUDA graphs). The numbers are
     * the same.
     */
    CUDA_GRAPH: flag(true),
    /** Ours: an ablation of time: the frames of each clip as they are, last first, or the middle one repeated. */
    FRAME_ORDER: choice('forward', ['forward', 'reversed', 'one_frame']),
  },

  /** Folder for checkpoints and logs. */
  OUTPUT: text(''),
  /** Epochs between checkpoints. */
  SAVE_FREQ: integer(1, { min: 1 }),
  /** Steps between log lines. */
  PRINT_FREQ: integer(50, { min: 1 }),
  SEED: integer(1024, { min: 0 }),
};

/** A complete configuration, frozen. Build one with `loadConfig`. */
export interface Config extends ValuesOf<typeof SCHEMA> {}
