import { CodedError } from '../../base/error';
import { quoteCell } from '../csv';

/** Class names with their ids, found whatever the case, blanks and underscores of the annotation. */
export class ClassTable {
  private readonly ids = new Map<string, number>();

  constructor(
    readonly names: readonly string[],
    /** Where the names come from, for messages. */
    readonly origin: string,
  ) {
    for (const [id, name] of names.entries()) this.ids.set(simplify(name), id);
  }

  /** The id of a class. @throws ERR_LABELS when the table has no such name */
  idOf(name: string, where: string): number {
    const id = this.ids.get(simplify(name));
    if (id === undefined) {
      throw new CodedError(
        'ERR_LABELS',
        `${where}: class "${name}" is not among the ${this.names.length} of ${this.origin}; is this the right data set?`,
      );
    }
    return id;
  }

  has(name: string): boolean {
    return this.ids.has(simplify(name));
  }

  /** Refuses annotations that leave a class out. @param ids of the classes that they name @throws ERR_LABELS */
  requireAll(ids: ReadonlySet<number>, where: string): void {
    if (ids.size === this.names.length) return;
    const absent = this.names.filter((_, id) => !ids.has(id));
    throw new CodedError(
      'ERR_LABELS',
      `${where}: ${ids.size} classes, but ${this.origin} has ${this.names.length}; ` +
        `the first of those without a video: ${absent.slice(0, 3).join(', ')}`,
    );
  }
}

/** The class table as a file, `id,name`. */
export function formatLabels(names: readonly string[]): string {
  return `id,name\n${names.map((name, id) => `${id},${quoteCell(name)}\n`).join('')}`;
}

/** Letters and digits in lower case: what is the same in all spellings of a class name. */
export function simplify(name: string): string {
  return name.toLowerCase().replace(/[^\p{L}\p{N}]/gu, '');
}
