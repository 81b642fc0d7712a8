import { checkKnownOptions, type KnownOptions } from '../base/check';
import { CodedError } from '../base/error';
import {
  type EncodeOptions,
  type EncodeResult,
  type EncoderHandle,
  type VideoAddon,
  videoAddon,
} from '../native/video';
import { abortable } from './abortable';

const keys: KnownOptions<EncodeOptions> = {
  width: true,
  height: true,
  fps: true,
  codec: true,
  gop: true,
  bFrames: true,
  bitrate: true,
  quality: true,
};

/**
 * Encodes RGB frames to an MP4 file, a few at a time: only those of one call are in memory. The file appears when it is
 * finished, complete, and otherwise not at all; the same frames give the same bytes, however they are divided.
 *
 * @example
 * using video = await VideoWriter.open('out.mp4', { width: 64, height: 48, fps: 25 });
 * await video.write(new Uint8Array(10 * 48 * 64 * 3)); // ten black frames
 * await video.finish();
 */
export class VideoWriter {
  /** A call has not settled. The addon knows only whether one still runs, which is over earlier. */
  private pending = false;

  private constructor(
    private readonly handle: EncoderHandle,
    private readonly addon: VideoAddon,
  ) {}

  /** @throws CodedError ERR_ARGUMENT, ERR_FILE_WRITE, ERR_VIDEO_ENCODE */
  static async open(path: string, options: EncodeOptions): Promise<VideoWriter> {
    checkKnownOptions('VideoWriter.open', options, keys);
    const addon = videoAddon();
    return new VideoWriter(await addon.openEncoder(path, options), addon);
  }

  /**
   * Appends frames, RGB bytes [n, height, width, 3], that must stay as they are until the call settles. Await it before
   * the next one. When it fails, what was written is removed.
   * @throws CodedError ERR_ARGUMENT (also: not awaited), ERR_FILE_WRITE, ERR_VIDEO_ENCODE, ERR_ABORTED, ERR_DISPOSED
   */
  async write(frames: Uint8Array, { signal }: { signal?: AbortSignal } = {}): Promise<void> {
    await this.alone(() =>
      abortable(signal, (cancel) => this.addon.writeFrames(this.handle, frames, cancel)),
    );
  }

  /** Completes the file. @throws CodedError ERR_ARGUMENT without frames, ERR_FILE_WRITE, ERR_VIDEO_ENCODE, ERR_DISPOSED */
  finish(): Promise<EncodeResult> {
    return this.alone(() => this.addon.finishEncoder(this.handle));
  }

  /** Gives up a file that is not finished, and the call under way with ERR_DISPOSED. Closing twice is allowed. */
  close(): void {
    this.addon.closeEncoder(this.handle);
  }

  [Symbol.dispose](): void {
    this.close();
  }

  private async alone<T>(call: () => Promise<T>): Promise<T> {
    if (this.pending) {
      throw new CodedError('ERR_ARGUMENT', 'the call before has not settled: await it before the next one');
    }
    this.pending = true;
    try {
      return await call();
    } finally {
      this.pending = false;
    }
  }
}
