import { join } from 'node:path';
import ts from 'typescript';
import type { Tensor } from '../../lib/tensor/tensor';
import { root } from '../support/packed';
import { claimOf, collectSamples, type Sample } from '../support/samples';

const samples = collectSamples();
const titleOf = ({ file, line }: Sample) => `${file}:${line}`;

/** What samples may use without saying where it comes from. */
const given: Record<string, string> = {
  x: 'lib.Tensor',
  y: 'lib.Tensor',
  dy: 'lib.Tensor',
  loss: 'lib.Tensor',
  net: 'lib.nn.Module',
  model: 'lib.XCLIP',
  names: 'readonly string[]',
  optimizer: 'lib.optim.AdamW',
  group: 'lib.distributed.ProcessGroup',
  config: 'lib.config.Config',
  geometry: 'lib.Geometry',
  dataset: 'lib.data.VideoDataset',
  planner: 'lib.data.Planner',
  native: "typeof import('../../lib/native/load').native",
  step: '(frames: Float32Array, shape: readonly number[], labels: Int32Array) => void',
  seed: 'number',
  epoch: 'number',
  index: 'number',
  steps: 'number',
  sampleIndex: 'number',
};

const compilerOptions = ts.parseJsonConfigFileContent(
  ts.readConfigFile(join(root, 'tsconfig.json'), ts.sys.readFile).config,
  ts.sys,
  root,
).options;
// A sample is read by users, whose compilers seldom check indices.
const strict = {
  ...compilerOptions,
  noEmit: true,
  rootDir: root,
  noUnusedLocals: false,
  noUncheckedIndexedAccess: false,
};

/** Where each exported name of lib/index.ts is found: itself, or inside a namespace such as `nn`. */
function publicNames(checker: ts.TypeChecker, index: ts.SourceFile): Map<string, string> {
  const names = new Map<string, string>();
  const top = checker.getExportsOfModule(checker.getSymbolAtLocation(index)!);
  for (const symbol of top) names.set(symbol.name, symbol.name);
  for (const space of top) {
    const target = space.flags & ts.SymbolFlags.Alias ? checker.getAliasedSymbol(space) : space;
    if (!(target.flags & ts.SymbolFlags.ValueModule)) continue;
    for (const { name } of checker.getExportsOfModule(target)) {
      if (!names.has(name)) names.set(name, `${space.name}.${name}`);
    }
  }
  return names;
}

/** The sample as a module: names of its own file and public names are imported, given ones declared. */
function moduleOf({ file, code }: Sample, own: Set<string>, names: Map<string, string>): string {
  const words = new Set(code.match(/[A-Za-z_]\w*/g));
  const declared = (word: string) =>
    new RegExp(`(?:const|let|class|using) ${word}\\b|const \\{[^}]*\\b${word}\\b`).test(code);
  const imported = [...words].filter((word) => own.has(word));
  const lines = [
    `import * as lib from '../../lib';`,
    `import { ${imported.join(', ')} } from '../../${file.replace(/\.ts$/, '')}';`,
  ];
  for (const word of words) {
    if (own.has(word) || declared(word)) continue;
    const path = names.get(word);
    if (Object.hasOwn(given, word)) lines.push(`declare const ${word}: ${given[word]};`);
    else if (path) lines.push(`import ${word} = lib.${path};`);
  }
  return `${lines.join('\n')}\nasync function sample() {\n${code}\n}\n`;
}

test('samples are found', () => {
  expect(samples.length).toBeGreaterThan(80);
  expect(samples.filter(({ code }) => code === '').map(titleOf)).toEqual([]);
});

test('every sample passes the type checker', () => {
  const sources = [join(root, 'lib/index.ts'), ...samples.map(({ file }) => join(root, file))];
  const library = ts.createProgram(sources, strict);
  const checker = library.getTypeChecker();
  const names = publicNames(checker, library.getSourceFile(sources[0]!)!);
  const modules = new Map(
    samples.map((sample, i) => {
      const symbol = checker.getSymbolAtLocation(library.getSourceFile(join(root, sample.file))!);
      const own = symbol ? checker.getExportsOfModule(symbol).map(({ name }) => name) : [];
      return [join(root, `test/package/sample_${i}.ts`), moduleOf(sample, new Set(own), names)];
    }),
  );
  const host = ts.createCompilerHost(strict);
  const { fileExists, readFile, getSourceFile } = host;
  host.fileExists = (path) => modules.has(path) || fileExists(path);
  host.readFile = (path) => modules.get(path) ?? readFile(path);
  host.getSourceFile = (path, version) =>
    modules.has(path)
      ? ts.createSourceFile(path, modules.get(path)!, version)
      : (library.getSourceFile(path) ?? getSourceFile.call(host, path, version));
  const program = ts.createProgram([...modules.keys()], strict, host, library);
  const problems = [...modules.keys()].flatMap((path, i) => {
    const file = program.getSourceFile(path)!;
    return [...program.getSyntacticDiagnostics(file), ...program.getSemanticDiagnostics(file)].map(
      ({ messageText }) => `${titleOf(samples[i]!)}: ${ts.flattenDiagnosticMessageText(messageText, ' ')}`,
    );
  });
  expect(problems).toEqual([]);
});

/** Half a unit of the last digit that is written, and what float32 rounds. */
function toleranceOf(text: string): number {
  const digits = /\.(\d+)/.exec(text)?.[1]?.length ?? 0;
  return 0.5 * 10 ** -digits * (digits > 0 ? 1.001 : 0) + 1e-6;
}

/** Compares structures; numbers to the precision in which the claim writes them. */
function expectValue(actual: unknown, expected: unknown, tolerance: number): void {
  if (typeof expected === 'number') {
    expect(Math.abs((actual as number) - expected)).toBeLessThanOrEqual(
      tolerance * Math.max(1, Math.abs(expected)),
    );
  } else if (Array.isArray(expected)) {
    expect((actual as ArrayLike<unknown>).length).toBe(expected.length);
    for (const [i, item] of expected.entries())
      expectValue((actual as ArrayLike<unknown>)[i], item, tolerance);
  } else expect(actual).toEqual(expected);
}

const AsyncFunction = (async () => {}).constructor as new (
  ...words: string[]
) => (...values: unknown[]) => Promise<void>;

/** Runs a sample; each line that claims a value is checked. Public names and those of its file are in reach. */
async function runSample({ file, code }: Sample): Promise<number> {
  const index = require('../../lib') as Record<string, unknown>;
  const spaces = Object.values(index).filter((v) => Object.prototype.toString.call(v) === '[object Object]');
  const scopeOf = Object.assign({}, ...spaces, index, require(join(root, file))) as Record<string, unknown>;
  let claims = 0;
  const check = async (value: unknown, text: string, shapeOnly: boolean) => {
    claims++;
    const expected = new Function(`return (${text});`)();
    const tensorLike = value as Partial<Tensor>;
    const isTensor = typeof tensorLike?.toArray === 'function';
    const actual = shapeOnly ? tensorLike.shape : isTensor ? await tensorLike.toArray!() : value;
    const plain = JSON.parse(
      JSON.stringify(actual ?? null, (_, v) => (ArrayBuffer.isView(v) ? Array.from(v as Int32Array) : v)),
    );
    expectValue(plain, expected, toleranceOf(text));
    if (isTensor) tensorLike.dispose!();
  };
  const lines = code.split('\n').map((line) => {
    const claim = claimOf(line);
    if (!claim) return line;
    const { statement, subject, expected, shape } = claim;
    return `${statement} await check(${subject}, ${JSON.stringify(expected)}, ${shape});`;
  });
  const { outputText } = ts.transpileModule(lines.join('\n'), {
    compilerOptions: { target: ts.ScriptTarget.ES2022 },
  });
  const words = new Set(code.match(/[A-Za-z_]\w*/g));
  const names = Object.keys(scopeOf).filter(
    (name) => words.has(name) && !new RegExp(`const ${name}\\b`).test(code),
  );
  await new AsyncFunction('check', ...names, outputText)(check, ...names.map((name) => scopeOf[name]));
  return claims;
}

const claiming = samples.filter(
  ({ code }) =>
    code.split('\n').some((line) => claimOf(line)) &&
    !Object.keys(given).some(
      (name) => new RegExp(`\\b${name}\\b`).test(code) && !code.includes(`const ${name} `),
    ),
);

test.each(claiming.map((sample) => [titleOf(sample), sample] as const))(
  '%s gives what it says',
  async (_, sample) => {
    expect(await runSample(sample)).toBeGreaterThan(0);
  },
);
