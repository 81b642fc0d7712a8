import { types } from 'node:util';
import { checkFunction, wrongKind } from '../base/check';
import { CodedError } from '../base/error';

/** Anything with explicit lifetime that a scope can own. */
export interface Disposable {
  dispose(): void;
}

const scopes: Set<Disposable>[] = [];

/** Called by every new tensor: the innermost scope owns it. */
export function adopt(resource: Disposable): void {
  scopes[scopes.length - 1]?.add(resource);
}

/** Takes a resource out of every open scope: it lives until it is disposed. Returns it. */
export function keep<T extends Disposable>(resource: T): T {
  if (typeof resource?.dispose !== 'function')
    throw wrongKind('keep', 'resource', 'something with a dispose()', resource);
  for (const scope of scopes) scope.delete(resource);
  return resource;
}

/**
 * Runs `body` and disposes every tensor made in it, except those it returns (alone, or inside arrays and plain
 * objects), which pass to the enclosing scope. What the autograd tape needs stays until backward has used it.
 *
 * @example
 * const y = scope(() => add(mul(x, x), x)); // the product is disposed, the sum is returned
 *
 * @throws ERR_ARGUMENT when `body` returns a promise: a scope is synchronous
 */
export function scope<T>(body: () => T): T {
  checkFunction('scope', 'body', body);
  const owned = new Set<Disposable>();
  scopes.push(owned);
  let result: T;
  try {
    result = body();
  } catch (error) {
    scopes.pop();
    for (const resource of owned) resource.dispose();
    throw error;
  }
  scopes.pop();
  if (types.isPromise(result)) {
    for (const resource of owned) resource.dispose();
    result.catch(() => {}); // its tensors are gone: whatever comes of that, the error below says why
    throw new CodedError('ERR_ARGUMENT', 'scope: the body returned a promise; a scope must be synchronous');
  }
  for (const resource of resourcesIn(result)) {
    if (owned.delete(resource)) adopt(resource);
  }
  for (const resource of owned) resource.dispose();
  return result;
}

/** What has a lifetime in a value: alone, or inside arrays and plain objects, which may go in circles. */
export function* resourcesIn(value: unknown): Generator<Disposable> {
  const seen = new Set<unknown>();
  const left = [value];
  while (left.length > 0) {
    const item = left.pop();
    if (typeof item !== 'object' || item === null || seen.has(item)) continue;
    seen.add(item);
    if (typeof (item as Partial<Disposable>).dispose === 'function') yield item as Disposable;
    else if (Array.isArray(item) || isPlain(item)) for (const part of Object.values(item)) left.push(part);
  }
}

function isPlain(value: object): boolean {
  const prototype: unknown = Object.getPrototypeOf(value);
  return prototype === null || (prototype as object).constructor?.name === 'Object';
}
