import { throwIfAborted } from '../../base/abort';
import type { KnownOptions } from '../../base/check';

/** How the first listing of an archive is watched and stopped. */
export interface ListingOptions {
  /** Stops it with ERR_ABORTED; nothing is kept then. */
  signal?: AbortSignal;
  /** Told at its beginning, some five times a second, and at its end: how many bytes of the archive have been gone through. */
  onListing?: (archive: string, done: number, total: number) => void;
}

export const listingKeys: KnownOptions<ListingOptions> = { signal: true, onListing: true };

/** Milliseconds between two reports. */
const interval = 200;

/** Reports of one listing. */
export class Listing {
  private last = Number.NEGATIVE_INFINITY;

  constructor(
    private readonly archive: string,
    private readonly total: number,
    private readonly options: ListingOptions,
  ) {}

  /** To be called for every member. @throws ERR_ABORTED */
  at(done: number): void {
    throwIfAborted(this.options.signal, 'listing the archive was aborted');
    const now = performance.now();
    if (now - this.last < interval) return;
    this.last = now;
    this.options.onListing?.(this.archive, done, this.total);
  }

  end(): void {
    this.options.onListing?.(this.archive, this.total, this.total);
  }
}
