import { existsSync } from 'node:fs';
import { basename, join } from 'node:path';
import { native } from '../../lib/native/load';
import { root, type Source, sources } from './sources';

const has = (path: string) => existsSync(join(root, path));
const stemOf = (path: string) => basename(path).replace(/\.\w+$/, '');

const contracts = sources(['native/ops'], ['.h']).filter(({ text }) => text.includes('DECLARE_KERNEL('));
const index = sources(['lib/ops'], ['index.ts'])[0]!;
const wrappers = sources(['lib/ops'], ['.ts']).filter(({ path }) => path !== index.path);
const table = sources(['bindings'], ['ops.cc'])[0]!;
const registered = new Set(
  sources(['cuda'], ['.cu']).flatMap(({ text }) =>
    [...text.matchAll(/REGISTER_KERNEL\((\w+), cuda,/g)].map(([, slot]) => slot!),
  ),
);

/** What a native op lacks: its other files, its line in the table, a kernel in each slot on either device. */
function missingOf({ path, text }: Source, filled: Set<string>): string[] {
  const stem = stemOf(path);
  const files = [
    `native/ops/${stem}.cc`,
    `native/cpu/${stem}.cc`,
    `cuda/${stem}.cu`,
    `lib/ops/${stem}.ts`,
    `test/ops/${stem}.test.ts`,
  ];
  const slots = [...text.matchAll(/DECLARE_KERNEL\((\w+),/g)].map(([, slot]) => slot!);
  return [
    ...files.filter((file) => !has(file)),
    ...(table.text.includes(`"ops/${stem}.h"`) ? [] : [`${stem}: no line in bindings/ops.cc`]),
    ...slots.filter((slot) => !filled.has(slot)).map((slot) => `${stem}: slot ${slot} has no CPU kernel`),
    ...slots
      .filter((slot) => !registered.has(slot))
      .map((slot) => `${stem}: slot ${slot} has no CUDA kernel`),
  ];
}

const isExported = (stem: string) => index.text.includes(`'./${stem}'`);

/**
 * What a file of lib/ops lacks. An op needs its export, a test, and a doc comment with a sample for each function; that
 * it has a derivative or an explicit null is a matter of types. A file that declares no op and that others import is a
 * helper.
 */
function unfinished({ path, text }: Source, all: Source[]): string[] {
  const stem = stemOf(path);
  if (!isExported(stem)) {
    const helps = all.some((other) => other.path !== path && other.text.includes(`from './${stem}'`));
    return helps && !/\b(unaryOutput|operation)\(/.test(text) ? [] : [`${stem}: not exported`];
  }
  const functions = [...text.matchAll(/(\/\*\*(?:(?!\*\/)[\s\S])*\*\/\n)?export function (\w+)/g)];
  return [
    ...(has(`test/ops/${stem}.test.ts`) ? [] : [`${stem}: no test`]),
    ...functions
      .filter(([, comment]) => !comment?.includes('@example'))
      .map(([, , name]) => `${stem}: ${name} has no doc comment with a sample`),
  ];
}

const filledOnCpu = () =>
  new Set(
    native()
      .kernels()
      .filter(([, device]) => device === 'cpu')
      .map(([name]) => name),
  );

test('no native op is half done', () => {
  const filled = filledOnCpu();
  expect(contracts.length).toBeGreaterThan(10);
  expect(contracts.flatMap((contract) => missingOf(contract, filled))).toEqual([]);
});

test('every op in TypeScript is documented, exported and tested', () => {
  expect(wrappers.length).toBeGreaterThan(10);
  expect(wrappers.flatMap((file) => unfinished(file, wrappers))).toEqual([]);
});

test('op exports are in alphabetical order', () => {
  const lines = index.text.trim().split('\n');
  expect(lines).toEqual([...lines].sort());
});

test('the checkers catch what is missing', () => {
  const contract = { path: 'native/ops/nothing.h', text: 'DECLARE_KERNEL(nothing, Args);' };
  expect(missingOf(contract, new Set())).toEqual([
    'native/ops/nothing.cc',
    'native/cpu/nothing.cc',
    'cuda/nothing.cu',
    'lib/ops/nothing.ts',
    'test/ops/nothing.test.ts',
    'nothing: no line in bindings/ops.cc',
    'nothing: slot nothing has no CPU kernel',
    'nothing: slot nothing has no CUDA kernel',
  ]);
  const forgotten = { path: 'lib/ops/forgotten.ts', text: 'export function forgotten() {}' };
  const helper = { path: 'lib/ops/helper.ts', text: 'export function help() {}' };
  const user = {
    path: 'lib/ops/unary.ts',
    text: "import { help } from './helper';\nexport function bare() {}",
  };
  expect(unfinished(forgotten, [helper, user])).toEqual(['forgotten: not exported']);
  expect(unfinished(helper, [helper, user])).toEqual([]);
  expect(unfinished({ ...helper, text: 'unaryOutput(' }, [user])).toEqual(['helper: not exported']);
  expect(unfinished(user, [user])).toEqual(['unary: bare has no doc comment with a sample']);
});
