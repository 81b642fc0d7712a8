import { CodedError } from '../base/error';

/** Videos in a row that a disk refuses to read before it is the disk that is gone, and no longer bad spots on it. */
const most = 64;

/**
 * Tells a disk with bad spots, each of which spoils a video, from one that is gone, which spoils none: what is found of
 * videos that it refuses to read is held back until it reads one that was begun later.
 */
export class DiskFailures<T> {
  private held: { finding: T; at: number }[] = [];
  private refusals = 0;

  /** A moment, to be taken before a video is read. */
  now(): number {
    return this.refusals;
  }

  /**
   * A video could not be read (ERR_FILE_IO).
   * @throws ERR_SYSTEM when too many are held back; they are for good then
   */
  add(finding: T, reason: string): void {
    this.held.push({ finding, at: this.refusals++ });
    if (this.held.length < most) return;
    throw new CodedError(
      'ERR_SYSTEM',
      `${most} videos in a row could not be read, so that the disk or server that they lie on must be gone; the same ` +
        `command goes on when it is back. The last: ${reason}`,
    );
  }

  /** A video begun at `begun` was read, or (without it) none is left: what was held back before stands. */
  release(begun = Number.POSITIVE_INFINITY): T[] {
    const standing = this.held.filter(({ at }) => at < begun);
    this.held = this.held.filter(({ at }) => at >= begun);
    return standing.map(({ finding }) => finding);
  }
}
