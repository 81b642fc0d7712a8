// Reads what the CUDA compiler said of each kernel (the .o.log files that cuda/build.cmake leaves in the build folder)
// and prints a table: kernel by architecture, registers, bytes spilled, bytes of stack. Fails when a kernel spills or
// uses a stack (local memory), when the compiler serialised or ignored something that a kernel relies on (its C75xx
// messages), and when there is nothing to read.
//
//   node scripts/check_resources.mjs [build folder] [--all | --brief]
//
// Without --all the table has only what is worst in each source file; with --brief there is none, as at the end of a build.

import { spawnSync } from 'node:child_process';
import { readdirSync, readFileSync, statSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = join(dirname(fileURLToPath(import.meta.url)), '..');
const args = process.argv.slice(2);
const all = args.includes('--all');
const brief = args.includes('--brief');
const folder = args.find((arg) => !arg.startsWith('--')) ?? join(root, 'build');

function* logs(path) {
  for (const name of readdirSync(path)) {
    const entry = join(path, name);
    if (statSync(entry).isDirectory()) yield* logs(entry);
    else if (name.endsWith('.cu.o.log')) yield entry;
  }
}

/** Kernels of one log: `{symbol, architecture, registers, spills, stack}`; and messages that are errors. */
export function parse(text) {
  const kernels = [];
  const messages = [];
  let current;
  for (const line of text.split('\n')) {
    const entry = /Compiling entry function '(\w+)' for '(\w+)'/.exec(line);
    if (entry) {
      current = { symbol: entry[1], architecture: entry[2], registers: 0, spills: 0, stack: 0 };
      kernels.push(current);
    }
    // A function that was not inlined has a frame of its own; only the entry's counts belong to `current`.
    const properties = /Function properties for (\w+)/.exec(line);
    if (properties && current && properties[1] !== current.symbol) {
      messages.push(`${properties[1]} was not inlined into ${current.symbol} (${current.architecture})`);
    }
    const frame = /(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads/.exec(line);
    if (frame && current) {
      current.stack = Math.max(current.stack, Number(frame[1]));
      current.spills = Math.max(current.spills, Number(frame[2]) + Number(frame[3]));
    }
    const used = /Used (\d+) registers/.exec(line);
    if (used && current) current.registers = Number(used[1]);
    if (/\bC75\d\d\b|\bC7602\b|Potential Performance Loss/.test(line)) messages.push(line.trim());
  }
  return { kernels, messages };
}

function demangled(symbols) {
  const { status, stdout } = spawnSync('c++filt', ['-p'], { input: symbols.join('\n'), encoding: 'utf8' });
  const names = status === 0 ? stdout.trimEnd().split('\n') : symbols;
  return names.map((name) => name.replaceAll(/native::cuda::|native::|\(anonymous namespace\)::/g, ''));
}

function main() {
  const files = [...logs(folder)].sort();
  if (files.length === 0) {
    console.error(`no *.cu.o.log below ${folder}: build with WITH_CUDA=ON first`);
    return 1;
  }
  const rows = [];
  const problems = [];
  for (const file of files) {
    const source = relative(folder, file).replace('.o.log', '');
    const { kernels, messages } = parse(readFileSync(file, 'utf8'));
    for (const message of messages) problems.push(`${source}: ${message}`);
    rows.push(...kernels.map((kernel) => ({ source, ...kernel })));
  }
  const names = demangled(rows.map(({ symbol }) => symbol));
  rows.forEach((row, i) => {
    row.name = names[i];
    if (row.spills > 0 || row.stack > 0) {
      problems.push(
        `${row.source}: ${row.name} for ${row.architecture}: ${row.spills} bytes spilled, ${row.stack} of stack`,
      );
    }
  });
  const key = all
    ? ({ source, symbol, architecture }) => `${source} ${symbol} ${architecture}`
    : ({ source, architecture }) => `${source} ${architecture}`;
  const worst = new Map();
  for (const row of rows) {
    const other = worst.get(key(row));
    const weight = ({ spills, stack, registers }) => 1e6 * (spills + stack) + registers;
    if (!other || weight(row) > weight(other)) worst.set(key(row), row);
  }
  if (!brief) console.log('source                                   arch     regs spill stack  kernel');
  for (const { source, architecture, registers, spills, stack, name } of brief ? [] : worst.values()) {
    const numbers = [registers, spills, stack].map((x) => String(x).padStart(5)).join(' ');
    console.log(`${source.padEnd(40)} ${architecture.padEnd(8)}${numbers}  ${name.slice(0, 70)}`);
  }
  const found = `${problems.length} problems (spills, stacks, products one after the other)`;
  console.log(`${rows.length} CUDA kernels in ${files.length} files, ${found}`);
  for (const problem of problems) console.error(problem);
  return problems.length > 0 ? 1 : 0;
}

if (process.argv[1] === fileURLToPath(import.meta.url)) process.exit(main());
