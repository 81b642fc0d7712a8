import { types } from 'node:util';
import { checkSize, wrongKind } from '../../base/check';
import { CodedError } from '../../base/error';
import { type VideoInput, VideoReader } from '../../data/video_reader';

/** Pictures in memory, those of a camera or a stream, say. */
export interface RawFrames {
  /** RGB bytes [n, height, width, 3], n >= 1, in the order of time. */
  frames: Uint8Array;
  width: number;
  height: number;
}

/**
 * What a model can look at: a video as {@link VideoReader} opens it (a path, the bytes of a file, an open file, a byte range of
 * one), a reader that is open and stays so, or pictures.
 */
export type Footage = VideoInput | VideoReader | RawFrames;

/** @throws ERR_ARGUMENT for what is no footage; `what` is the function that was given it */
export function checkFootage(what: string, footage: unknown): asserts footage is Footage {
  const { path, fd, data, frames } = (footage ?? {}) as Record<string, unknown>;
  const known =
    typeof footage === 'string' ||
    ArrayBuffer.isView(footage) ||
    footage instanceof VideoReader ||
    [path, fd, data, frames].some((given) => given !== undefined);
  if (!known)
    throw wrongKind(
      what,
      'video',
      'a path, the bytes of a file (Uint8Array), an open file, a VideoReader or pictures',
      footage,
    );
  if (frames === undefined) return;
  if (!types.isUint8Array(frames))
    throw wrongKind(what, 'video.frames', 'the bytes of all pictures in one Uint8Array', frames);
  const { width, height } = footage as RawFrames;
  checkSize(what, 'video.width', width);
  checkSize(what, 'video.height', height);
}

export function isRawFrames(footage: Footage): footage is RawFrames {
  return typeof footage === 'object' && footage !== null && 'frames' in footage;
}

/** Number of the pictures. @throws ERR_SHAPE when their bytes are no whole number of them, or none */
export function frameCountOf({ frames, width, height }: RawFrames): number {
  const count = frames.length / (width * height * 3);
  if (Number.isInteger(count) && count > 0) return count;
  throw new CodedError(
    'ERR_SHAPE',
    `frames must be RGB bytes [n, ${height}, ${width}, 3], n >= 1, got ${frames.length} bytes`,
  );
}

/** What messages call it. */
export function nameOf(footage: Footage): string {
  if (typeof footage === 'string') return footage;
  return 'path' in footage && typeof footage.path === 'string' ? footage.path : 'the video';
}

/** An open reader of it, and what is to be done when it is no longer needed. Readers of the caller's stay open. */
export async function readerOf(
  footage: Exclude<Footage, RawFrames>,
  options: { deadlineMs?: number; signal?: AbortSignal },
): Promise<{ reader: VideoReader; release: () => void }> {
  if (footage instanceof VideoReader) return { reader: footage, release: () => {} };
  const { deadlineMs, signal } = options;
  const reader = await VideoReader.open(footage, { deadlineMs, signal });
  return { reader, release: () => reader.close() };
}
