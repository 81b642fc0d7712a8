import { posix } from 'node:path';
import { type Source, sources } from './sources';

// A file may import from its own folder and from folders with a lower number; equal numbers do not know each other.
const typescript: Record<string, number> = {
  base: -1,
  native: 0,
  config: 0,
  tensor: 1,
  ops: 2,
  nn: 3,
  io: 3,
  optim: 4,
  data: 4,
  distributed: 4,
  models: 5,
  engine: 6,
  cli: 7,
};
const cpp: Record<string, number> = { core: 0, ops: 1, cpu: 2, video: 2, data: 2, dist: 2 };

/** Imports of a TypeScript file that go up or sideways. */
function upwardImports({ path, text }: Source): string[] {
  const folder = path.split('/')[1]!;
  if (path.split('/').length < 3) return []; // lib/index.ts gathers everything
  const level = typescript[folder];
  if (level === undefined) return [`${path}: folder ${folder} has no level`];
  return [...text.matchAll(/(?:from|import|require)\s*\(?\s*'(\.[^']*)'/g)].flatMap(([, target]) => {
    const other = posix.join(posix.dirname(path), target!).split('/')[1]!;
    const below = other === folder || (typescript[other] ?? Number.POSITIVE_INFINITY) < level;
    return below ? [] : [`${path} imports ${target}`];
  });
}

/** Includes of a C++ file of native/ that go up or sideways, or that belong to another layer altogether. */
function upwardIncludes({ path, text }: Source): string[] {
  const folder = path.split('/')[1]!;
  const level = cpp[folder];
  if (level === undefined) return [`${path}: folder ${folder} has no level`];
  return [...text.matchAll(/^\s*#include\s*[<"]([^>"]+)[>"]/gm)].flatMap(([, target]) => {
    if (/^(napi|node_api|cuda|nccl)/.test(target!)) return [`${path} includes ${target}`];
    const other = target!.split('/')[0]!;
    if (!(other in cpp) || other === folder) return [];
    return cpp[other]! < level ? [] : [`${path} includes ${target}`];
  });
}

const tooLong = ({ path, text }: Source) => {
  const lines = text.split('\n').length - 1;
  return lines > 500 ? [`${path} has ${lines} lines`] : [];
};

const namesTheModel = ({ path, text }: Source) =>
  text.split('\n').flatMap((line, i) => (/x-?clip/i.test(line) ? [`${path}:${i + 1}: ${line.trim()}`] : []));

const lib = sources(['lib'], ['.ts']);
const native = sources(['native'], ['.h', '.cc']);
const bindings = sources(['bindings'], ['.h', '.cc']);

test('TypeScript imports go down only', () => {
  expect(lib.flatMap(upwardImports)).toEqual([]);
});

test('C++ includes go down only, and native/ knows neither N-API nor CUDA', () => {
  expect(native.flatMap(upwardIncludes)).toEqual([]);
});

test('no file has more than 500 lines', () => {
  expect(
    [...lib, ...native, ...bindings, ...sources(['test', 'scripts', 'bench'], ['.ts', '.mjs'])].flatMap(
      tooLong,
    ),
  ).toEqual([]);
});

test('nothing below the models names the model', () => {
  const below = lib.filter(({ path }) => {
    const level = typescript[path.split('/')[1]!];
    return level !== undefined && level < typescript.models!;
  });
  expect([...native, ...bindings, ...below].flatMap(namesTheModel)).toEqual([]);
});

test('each checker catches a planted violation', () => {
  const file = (path: string, text: string) => ({ path, text });
  expect(upwardImports(file('lib/tensor/a.ts', "import { add } from '../ops/binary';"))).toHaveLength(1);
  expect(upwardImports(file('lib/nn/a.ts', "const io = await import('../io');"))).toHaveLength(1);
  expect(upwardImports(file('lib/new/a.ts', ''))).toHaveLength(1);
  expect(upwardImports(file('lib/ops/a.ts', "import { tensor } from '../tensor/tensor';"))).toEqual([]);
  expect(upwardIncludes(file('native/ops/a.cc', '#include "cpu/simd.h"'))).toHaveLength(1);
  expect(upwardIncludes(file('native/core/a.cc', '#include <napi.h>'))).toHaveLength(1);
  expect(upwardIncludes(file('native/cpu/a.cc', '#include "ops/binary.h"'))).toEqual([]);
  expect(tooLong(file('lib/a.ts', 'x\n'.repeat(501)))).toHaveLength(1);
  expect(tooLong(file('lib/a.ts', 'x\n'.repeat(500)))).toEqual([]);
  expect(namesTheModel(file('lib/ops/a.ts', '// as X-CLIP does'))).toHaveLength(1);
});
