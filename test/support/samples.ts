import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { filesBelow, root } from './packed';

/** The code of one `@example`. */
export interface Sample {
  /** Path of the source, from the repository's root. */
  file: string;
  /** Line of the `@example`, from 1. */
  line: number;
  code: string;
}

/** Every `@example` in the doc comments of lib/. */
export function collectSamples(): Sample[] {
  return filesBelow(join(root, 'lib'))
    .filter((name) => name.endsWith('.ts'))
    .flatMap((name) => samplesOf(`lib/${name}`, readFileSync(join(root, 'lib', name), 'utf8')));
}

function samplesOf(file: string, text: string): Sample[] {
  const samples: Sample[] = [];
  let current: string[] | null = null;
  for (const [index, line] of text.split('\n').entries()) {
    const content = /^\s*(?:\*(?!\/)|\/\*\*) ?(.*?)(?:\*\/)?$/.exec(line)?.[1];
    if (content === undefined || /^@(?!ts-)/.test(content.trim())) current = null;
    if (content?.trim() === '@example') {
      current = [];
      samples.push({ file, line: index + 1, code: '' });
    } else if (current) {
      current.push(content!);
      samples.at(-1)!.code = current.join('\n').trim();
    }
  }
  return samples;
}

/** What a line of a sample says that an expression gives. */
export interface Claim {
  /** The line as a program, without its comment. */
  statement: string;
  /** The expression that the claim is about. */
  subject: string;
  /** About the shape alone. */
  shape: boolean;
  /** The value as source text. */
  expected: string;
}

const literal = String.raw`\[.*\]|\{.*\}|'.*'|".*"|-?\d[\d.e-]*`;

/** Reads `const y = f(x); // [1, 2]`, `f(x); // 'a'`, `// shape [2, 3]` and `f(x); // x is [1, 2]`. */
export function claimOf(line: string): Claim | null {
  const found = new RegExp(
    `^(?:const (\\w+) = )?((?!const |let |using ).+);\\s+// (?:(shape) |(\\w+) is )?(${literal})(?:, .*)?$`,
  ).exec(line);
  if (!found) return null;
  const [, name, expression, shape, other, expected] = found;
  return {
    statement: name ? `const ${name} = ${expression};` : other ? `${expression};` : '',
    subject: other ?? name ?? expression!,
    shape: shape !== undefined,
    expected: expected!,
  };
}
