import { CodedError } from './error';
import { nearestName } from './nearest';

/** The keys of options of type `T`, each of them: the compiler misses one that is left out. */
export type KnownOptions<T> = Readonly<Record<keyof T, true>>;

/**
 * Refuses options that are no object, and a key that none has: JavaScript would leave out what a typing mistake asks for.
 *
 * @throws ERR_ARGUMENT
 */
export function checkOptions<T>(options: T, known: KnownOptions<T>): void {
  if (typeof options !== 'object' || options === null || Array.isArray(options)) {
    throw new CodedError('ERR_ARGUMENT', `options must be an object, got ${JSON.stringify(options)}`);
  }
  const names = Object.keys(known);
  const unknown = Object.keys(options).find((key) => !names.includes(key));
  if (unknown === undefined) return;
  const nearest = nearestName(unknown, names);
  const hint = nearest ? `did you mean ${nearest}?` : `there are ${names.join(', ')}`;
  throw new CodedError('ERR_ARGUMENT', `there is no option "${unknown}"; ${hint}`);
}
