import { types } from 'node:util';
import { abortError, throwIfAborted } from '../../base/abort';
import { checkSize, wrongKind } from '../../base/check';
import { CodedError } from '../../base/error';

/** Pictures that are still coming, from a camera or from another program. */
export interface LivePictures {
  /** RGB bytes, [height, width, 3] of one picture after the other, in pieces of any size: the output of a program, say. */
  stream: AsyncIterable<Uint8Array>;
  width: number;
  height: number;
  /** Pictures per second: picture i is shown from i / fps on. */
  fps: number;
}

export function isLive(footage: unknown): footage is LivePictures {
  return typeof footage === 'object' && footage !== null && 'stream' in footage;
}

/** @throws ERR_ARGUMENT */
export function checkLive(what: string, { stream, width, height, fps }: LivePictures): void {
  if (typeof stream?.[Symbol.asyncIterator] !== 'function')
    throw wrongKind(what, 'video.stream', 'an async iterable of bytes', stream);
  checkSize(what, 'video.width', width);
  checkSize(what, 'video.height', height);
  if (!(Number.isFinite(fps) && fps > 0)) throw wrongKind(what, 'video.fps', 'a number above 0', fps);
}

/** A part of a stream. */
export interface LiveWindow {
  /** Seconds; pictures shown from `from` on and before `to`. */
  from: number;
  to: number;
  pictures: Uint8Array[];
}

/** Times are counted in pictures to this precision: seconds times fps are seldom whole. */
export const SLACK = 1e-6;

/** Cuts a stream of pictures into windows that begin `stride` seconds apart, and keeps no more than those still needed. */
export class LiveWindows {
  private readonly pieces: AsyncIterator<Uint8Array>;
  private readonly pictureBytes: number;
  /** A piece that is not used up. */
  private rest = new Uint8Array(0);
  /** Pictures from number `first` on. */
  private kept: Uint8Array[] = [];
  private first = 0;
  /** Number of all pictures, once the stream has ended. */
  private count = Number.POSITIVE_INFINITY;

  constructor(
    private readonly live: LivePictures,
    private readonly window: number,
    private readonly stride: number,
  ) {
    this.pieces = live.stream[Symbol.asyncIterator]();
    this.pictureBytes = live.width * live.height * 3;
  }

  /**
   * Window number k, which is asked for after window k - 1, as soon as it is complete; the last ones may be shorter.
   *
   * @returns undefined where the stream ended before
   * @throws ERR_SHAPE when it ended within a picture, ERR_ARGUMENT for pieces that are no bytes, ERR_ABORTED, and what
   *   the stream throws
   */
  async read(k: number, signal: AbortSignal): Promise<LiveWindow | undefined> {
    const { fps } = this.live;
    const from = k * this.stride; // not summed up, which would drift
    const begin = Math.floor(from * fps + SLACK);
    const end = Math.ceil((from + this.window) * fps - SLACK);
    this.dropBefore(begin);
    while (this.first + this.kept.length < Math.min(end, this.count)) {
      const picture = await this.nextPicture(signal);
      if (!picture) this.count = this.first + this.kept.length;
      else if (this.kept.length === 0 && this.first < begin) this.first++;
      else this.kept.push(picture);
    }
    if (from * fps >= this.count - SLACK) return undefined;
    const pictures = this.kept.slice(0, end - begin);
    return { from, to: Math.min(from + this.window, this.count / fps), pictures };
  }

  /** Ends the stream, which may be waiting for its source. */
  close(): void {
    const { stream } = this.live as { stream: { destroy?: () => void } };
    if (typeof stream.destroy === 'function') stream.destroy();
    else this.pieces.return?.()?.catch(() => {}); // nobody is left to hear of it
  }

  private dropBefore(begin: number): void {
    const dropped = Math.min(this.kept.length, Math.max(0, begin - this.first));
    this.kept.splice(0, dropped);
    this.first += dropped;
  }

  private async nextPicture(signal: AbortSignal): Promise<Uint8Array | undefined> {
    const picture = new Uint8Array(this.pictureBytes);
    let filled = 0;
    while (filled < picture.length) {
      if (this.rest.length === 0) {
        const piece = await this.nextPiece(signal);
        if (!piece && filled === 0) return undefined;
        if (!piece) {
          const { width, height } = this.live;
          const problem = `the stream ended within a picture, after ${filled} of its ${picture.length} bytes`;
          throw new CodedError(
            'ERR_SHAPE',
            `${problem}; are pictures ${width} x ${height}, 3 bytes a pixel?`,
          );
        }
        this.rest = piece;
      }
      const part = this.rest.subarray(0, picture.length - filled);
      picture.set(part, filled);
      filled += part.length;
      this.rest = this.rest.subarray(part.length);
    }
    return picture;
  }

  private async nextPiece(signal: AbortSignal): Promise<Uint8Array<ArrayBuffer> | undefined> {
    throwIfAborted(signal);
    let leave = () => {};
    const aborted = new Promise<never>((_, reject) => {
      leave = () => reject(abortError(signal, 'aborted by the caller'));
    });
    signal.addEventListener('abort', leave, { once: true });
    try {
      const { done, value } = await Promise.race([this.pieces.next(), aborted]);
      if (done) return undefined;
      if (!types.isUint8Array(value)) throw wrongKind('timeline', 'what video.stream gives', 'bytes', value);
      return value as Uint8Array<ArrayBuffer>;
    } finally {
      signal.removeEventListener('abort', leave);
    }
  }
}
