import { CodedError } from '../base/error';
import { failureText, type SampleFailure } from './batch';

/** Samples before which the share of bad ones says little: lists are often sorted, and a class may be missing as a whole. */
const enough = 256;

/** Failures that the message names. */
const shown = 3;

/**
 * Ends an epoch in which too many videos cannot be loaded: that is a wrong folder, or a disk that is gone, and no reason to
 * train on what is left. A share is taken of the samples so far, but of at least 256, or of all if there are fewer.
 */
export class BadShare {
  private readonly first: SampleFailure[] = [];
  private tried = 0;
  private bad = 0;

  /**
   * @param most share of the samples that may be bad, below 1
   * @param total samples in the epoch
   * @param place where the videos are looked for
   */
  constructor(
    private readonly most: number,
    private readonly total: number,
    private readonly place: string,
  ) {}

  /**
   * Counts a batch: videos that were loaded, and those that could not be.
   * @throws ERR_BAD_VIDEOS
   */
  add(loaded: number, failed: readonly SampleFailure[]): void {
    this.tried += loaded + failed.length;
    this.bad += failed.length;
    this.first.push(...failed.slice(0, shown - this.first.length));
    if (this.bad <= this.most * Math.max(this.tried, Math.min(enough, this.total))) return;
    const names = this.first.map((failure) => `  ${failureText(failure)}`);
    throw new CodedError(
      'ERR_BAD_VIDEOS',
      `${this.bad} of ${this.tried} videos could not be loaded, more than the share of ${this.most} that ` +
        `DATA.MAX_BAD_SHARE allows; are they in ${this.place}? The first:\n${names.join('\n')}`,
    );
  }
}
