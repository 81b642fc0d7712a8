import { CodedError } from '../../base/error';
import { Philox } from '../../base/philox';
import { type ClassTable, simplify } from './classes';
import type { Annotation, PreparedLists } from './prepared';

/**
 * Classes of Kinetics-600 that Kinetics-400 has under another name, new name first. They are known actions, so a
 * zero-shot test leaves them out: 232 names of Kinetics-600 are not in the table of Kinetics-400, 220 classes are new.
 * Which twelve they are is not published; these are the renamings one to one (halves of a class that was split, such as
 * "hugging baby", count as new).
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
  'preparing salad': 'tossing salad',
  'throwing ball (not baseball or American football)': 'throwing ball',
  'tying necktie': 'tying tie',
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
export interface ZeroShotOptions {
  /** Ids of the classes to draw from. */
  candidates: readonly number[];
  /** Classes per split. */
  classesPerSplit: number;
  splits: number;
  seed: number;
}

/**
 * Adds `zero_shot_val_split<n>.txt` and `zero_shot_labels_split<n>.csv`: the validation videos of classes drawn without
 * replacement, renumbered from 0 in the order of the whole table.
 * @throws ERR_ARGUMENT when there are fewer candidates than a split takes
 */
export function addZeroShot(prepared: PreparedLists, classes: ClassTable, options: ZeroShotOptions): void {
  const { candidates, classesPerSplit, splits, seed } = options;
  if (candidates.length < classesPerSplit) {
    throw new CodedError(
      'ERR_ARGUMENT',
      `a zero-shot split takes ${classesPerSplit} classes, but only ${candidates.length} are new`,
    );
  }
  const validation = prepared.lists.get('val.txt') ?? [];
  for (let split = 1; split <= splits; split++) {
    const order = new Philox(seed, split).permutation(candidates.length);
    const chosen = order.slice(0, classesPerSplit).map((i) => candidates[i]!);
    chosen.sort((a, b) => a - b);
    const renumbered = new Map(chosen.map((id, label) => [id, label]));
    const list = validation.flatMap((item): Annotation[] => {
      const label = renumbered.get(item.label);
      return label === undefined ? [] : [{ ...item, label }];
    });
    prepared.lists.set(`zero_shot_val_split${split}.txt`, list);
    prepared.tables.set(
      `zero_shot_labels_split${split}.csv`,
      chosen.map((id) => classes.names[id]!),
    );
  }
}
