import { parseDocument } from 'yaml';

/**
 * The value that a word on the command line, or a text in a YAML file, stands for. Reads Python's literals as well as
 * YAML's, because official configurations are written for Python: `None`, `True`, `8.e-6`, `(0.9, 0.98)`,
 * `[4, 3]`, `'quoted'`. What is neither is a text.
 */
export function readLiteral(word: string): unknown {
  const trimmed = word.trim();
  if (trimmed === 'None') return null;
  const tuple = /^\((.*)\)$/s.exec(trimmed);
  const document = parseDocument(tuple ? `[${tuple[1]}]` : trimmed, { logLevel: 'silent' });
  if (document.errors.length > 0) return word;
  const value: unknown = document.toJS({ maxAliasCount: 0 });
  return value === null && !['null', 'Null', 'NULL', '~'].includes(trimmed) ? word : value;
}
