/**
 * Every error this package throws on purpose is a {@link CodedError}: match on `code`, which is stable, and show
 * `message`, which says what was wrong, where, and what to do.
 */
export type ErrorCode =
  /** An argument has a wrong type or value. */
  | 'ERR_ARGUMENT'
  /** Shapes do not fit the operation. */
  | 'ERR_SHAPE'
  /** A dtype does not fit the operation. */
  | 'ERR_DTYPE'
  /** A device is unknown, unavailable, or tensors live on different ones. */
  | 'ERR_DEVICE'
  /** A tensor, model or reader was used after it was disposed. */
  | 'ERR_DISPOSED'
  /** An operation without a derivative was differentiated, or backward started from a tensor without history. */
  | 'ERR_NO_GRADIENT'
  /** An index (class, token, row) is outside its table. */
  | 'ERR_INDEX_RANGE'
  /** Memory could not be allocated. */
  | 'ERR_OUT_OF_MEMORY'
  /** The native addon could not be loaded; the message lists every candidate and why it failed. */
  | 'ERR_NATIVE_LOAD'
  /** A fault of this package. */
  | 'ERR_INTERNAL'
  /** A file does not exist. */
  | 'ERR_FILE_NOT_FOUND'
  /** A file exists but cannot be read. */
  | 'ERR_FILE_READ'
  /** The disk or server refused to read a part of a file (EIO): a bad spot under it, or all of the disk fails. */
  | 'ERR_FILE_IO'
  /**
   * The machine or its storage failed, not the file that was read: no more files may be open, or a disk or server is gone.
   */
  | 'ERR_SYSTEM'
  /** A file cannot be written. */
  | 'ERR_FILE_WRITE'
  /** A tar or zip archive of videos is damaged, truncated, or packed in a way that byte ranges cannot read. */
  | 'ERR_ARCHIVE_FORMAT'
  /** The bytes are not a video this package reads. */
  | 'ERR_VIDEO_FORMAT'
  /** So many videos of a data set are bad that something else must be wrong, such as the folder. */
  | 'ERR_BAD_VIDEOS'
  /** The video has no frames. */
  | 'ERR_VIDEO_EMPTY'
  /** A frame that was asked for could not be decoded (damaged or truncated stream). */
  | 'ERR_VIDEO_DECODE'
  /** The video exceeds a safety limit (pixels, streams, probe size, memory). */
  | 'ERR_VIDEO_LIMIT'
  /** Reading or decoding did not finish before its deadline. */
  | 'ERR_VIDEO_TIMEOUT'
  /** A frame index is outside the video. */
  | 'ERR_FRAME_RANGE'
  /** A video could not be encoded or written. */
  | 'ERR_VIDEO_ENCODE'
  /** The bytes are not a checkpoint this package reads, or are damaged. */
  | 'ERR_CHECKPOINT_FORMAT'
  /** A checkpoint asks for something that is never executed, or has absurd sizes. */
  | 'ERR_CHECKPOINT_UNSAFE'
  /** A checkpoint is sound but belongs to another model. */
  | 'ERR_CHECKPOINT_MISMATCH'
  /** A configuration file is not YAML, or its BASE files refer to each other in a circle. */
  | 'ERR_CONFIG_SYNTAX'
  /** A configuration key is unknown. */
  | 'ERR_CONFIG_KEY'
  /** A configuration value has the wrong type. */
  | 'ERR_CONFIG_TYPE'
  /** A configuration value has the right type but makes no sense. */
  | 'ERR_CONFIG_VALUE'
  /** A class table or list of class names is empty or malformed. */
  | 'ERR_LABELS'
  /** A line of a video list has a label outside the class table. */
  | 'ERR_LABEL_RANGE'
  /** A line of a video list cannot be read. */
  | 'ERR_LIST_FORMAT'
  /** A text has more tokens than the model's context. */
  | 'ERR_TEXT_TOO_LONG'
  /** The number of frames does not fit the model. */
  | 'ERR_FRAME_COUNT'
  /** A loss or score is infinite or not a number. */
  | 'ERR_NOT_FINITE'
  /** A job of several processes cannot be set up, or has lost one of them. */
  | 'ERR_DISTRIBUTED'
  /** The caller's AbortSignal fired; `cause` is its reason. */
  | 'ERR_ABORTED'
  /** The command line is wrong. */
  | 'ERR_USAGE';

/** An error with a stable {@link ErrorCode}. */
export class CodedError extends Error {
  readonly code: ErrorCode;

  constructor(code: ErrorCode, message: string, options?: { cause?: unknown }) {
    super(message, options);
    this.name = 'CodedError';
    this.code = code;
  }
}

/** True when `error` carries this `code`; also for the error that ended a worker, which is of no class of ours. */
export function hasCode<Code extends ErrorCode>(
  error: unknown,
  code: Code,
): error is Error & { readonly code: Code } {
  return typeof error === 'object' && error !== null && (error as { code?: unknown }).code === code;
}
