import { CodedError } from '../../base/error';
import { Philox } from '../../base/philox';
import { readLabels } from '../labels';
import { type ClassTable, simplify } from './classes';
import type { Annotation, PreparedLists } from './prepared';

/**
 * Classes of Kinetics-600 that Kinetics-400 has under another name, new name first. They are known actions, so a
 * zero-shot test leaves them out: 232 names of Kinetics-600 are not in the table of Kinetics-400, 220 classes are new. They
 * are the twelve that the published splits leave out.
 */
export const renamedClasses: Readonly<Record<string, string>> = {
  'changing wheel (not on bike)': 'changing wheel',
  'cooking sausages (not on barbeque)': 'cooking sausages',
  'dyeing hair': 'dying hair',
  'hugging (not baby)': 'hugging',
  'inflating balloons': 'balloon blowing',
  'making the bed': 'making bed',
  'opening bottle (not wine)': 'opening bottle',
  'passing american football (not in game)': 'passing American football (not in game)',
  'person collecting garbage': 'garbage collecting',
  'throwing ball (not baseball or American football)': 'throwing ball',
  'tying necktie': 'tying tie',
  'waking up': 'baby waking up',
};

/** Ids of the classes of `classes` that are neither in `known` nor renamed from one of it, ascending. */
export function newClasses(classes: ClassTable, known: ClassTable): number[] {
  const oldNames = new Map(Object.entries(renamedClasses).map(([now, then]) => [simplify(now), then]));
  return [...classes.names.keys()].filter((id) => {
    const name = classes.names[id]!;
    return !known.has(name) && !known.has(oldNames.get(simplify(name)) ?? name);
  });
}

/** How zero-shot test sets are drawn. */
export interface DrawOptions {
  /** Ids of the classes to draw from. */
  candidates: readonly number[];
  /** Classes per split. */
  classesPerSplit: number;
  splits: number;
  seed: number;
}

/**
 * Class ids of each split, drawn without replacement and ascending.
 * @throws ERR_ARGUMENT when there are fewer candidates than a split takes
 */
export function drawSplits({ candidates, classesPerSplit, splits, seed }: DrawOptions): number[][] {
  if (candidates.length < classesPerSplit) {
    throw new CodedError(
      'ERR_ARGUMENT',
      `a zero-shot split takes ${classesPerSplit} classes, but only ${candidates.length} are new`,
    );
  }
  return Array.from({ length: splits }, (_, split) => {
    const order = new Philox(seed, split + 1).permutation(candidates.length);
    const chosen = order.slice(0, classesPerSplit).map((i) => candidates[i]!);
    return chosen.sort((a, b) => a - b);
  });
}

/**
 * Class ids of each split, in the order of a class table per split.
 * @throws ERR_FILE_NOT_FOUND, ERR_LABELS: a table that is malformed, or names a class that is not in `classes`
 */
export function readSplits(tables: readonly string[], classes: ClassTable): number[][] {
  return tables.map((table) => readLabels(table).map((name) => classes.idOf(name, table)));
}

/**
 * Adds `zero_shot_val_split<n>.txt` and `zero_shot_labels_split<n>.csv`: the videos of `from` that are of the split's classes,
 * numbered from 0 in the split's order.
 * @param splits class ids of each
 * @throws ERR_LIST_FORMAT when the annotations have no videos of `from`
 */
export function addZeroShot(
  prepared: PreparedLists,
  classes: ClassTable,
  splits: readonly (readonly number[])[],
  from: 'val' | 'test',
): void {
  const videos = prepared.lists.get(`${from}.txt`);
  if (!videos) {
    throw new CodedError('ERR_LIST_FORMAT', `the annotations have no labelled clip of the split "${from}"`);
  }
  for (const [i, chosen] of splits.entries()) {
    const renumbered = new Map(chosen.map((id, label) => [id, label]));
    const list = videos.flatMap((item): Annotation[] => {
      const label = renumbered.get(item.label);
      return label === undefined ? [] : [{ ...item, label }];
    });
    prepared.lists.set(`zero_shot_val_split${i + 1}.txt`, list);
    prepared.tables.set(
      `zero_shot_labels_split${i + 1}.csv`,
      chosen.map((id) => classes.names[id]!),
    );
  }
}
