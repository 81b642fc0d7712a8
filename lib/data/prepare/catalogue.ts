import { posix } from 'node:path';
import { isVideoName } from '../sources/labelled_shards';
import { simplify } from './classes';

/** The videos that are there, by the last part of their path without its ending. */
export class Catalogue {
  private readonly byStem = new Map<string, string[]>();
  /** Number of videos. */
  readonly size: number;

  /** @param names paths of all files, videos and others, as a store lists them */
  constructor(names: readonly string[]) {
    const videos = names.filter(isVideoName);
    this.size = videos.length;
    for (const name of videos) {
      const stem = stemOf(name);
      const known = this.byStem.get(stem);
      if (known) known.push(name);
      else this.byStem.set(stem, [name]);
    }
  }

  /**
   * The video called `stem`; of several, the one in a folder that is called like its class.
   * @returns undefined when there is none
   */
  find(stem: string, className: string): string | undefined {
    const found = this.byStem.get(stem) ?? [];
    const folder = simplify(className);
    return found.find((name) => simplify(posix.basename(posix.dirname(name))) === folder) ?? found[0];
  }
}

/** The last part of a path without its ending. */
export function stemOf(path: string): string {
  return posix.basename(path).replace(/\.[A-Za-z0-9]+$/, '');
}
