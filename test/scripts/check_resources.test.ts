import { spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { packageRoot } from '../../lib/native/load';

// What the compiler says of a kernel, in its words.
const report = ({ stack = 0, stores = 0, symbol = '_Z11sums_kernelPf', note = '' }) =>
  [
    "ptxas info    : Compiling entry function '_Z11sums_kernelPf' for 'sm_90a'",
    `ptxas info    : Function properties for ${symbol}`,
    `    ${stack} bytes stack frame, ${stores} bytes spill stores, ${stores} bytes spill loads`,
    'ptxas info    : Used 168 registers, used 1 barriers',
    note,
  ].join('\n');

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'resources-'));
  mkdirSync(join(folder, 'cuda'));
});
afterEach(() => rmSync(folder, { recursive: true }));

function check(log: string | null, ...args: string[]) {
  if (log !== null) writeFileSync(join(folder, 'cuda/sums.cu.o.log'), log);
  const script = join(packageRoot(), 'scripts/check_resources.mjs');
  return spawnSync(process.execPath, [script, folder, ...args], { encoding: 'utf8' });
}

test('kernels without spills pass, with a table or in one line', () => {
  const { status, stdout } = check(report({}));
  expect(status).toBe(0);
  expect(stdout).toMatch(/^cuda\/sums.cu +sm_90a +168 +0 +0 +sums_kernel/m);
  const brief = check(report({}), '--brief');
  expect(brief.status).toBe(0);
  expect(brief.stdout).toBe(
    '1 CUDA kernels in 1 files, 0 problems (spills, stacks, products one after the other)\n',
  );
});

test.each([
  ['spills', report({ stores: 8 }), '16 bytes spilled'],
  ['has a stack', report({ stack: 32 }), '32 of stack'],
  ['calls what should be part of it', report({ symbol: '_Z3addf' }), '_Z3addf was not inlined'],
  [
    'has its products one after the other',
    report({
      note: 'ptxas info    : (C7510) Potential Performance Loss: wgmma.mma_async instructions are serialized',
    }),
    'C7510',
  ],
])('a kernel that %s is a problem, with and without the table', (_, log, problem) => {
  for (const args of [[], ['--brief']]) {
    const { status, stderr } = check(log, ...args);
    expect(status).toBe(1);
    expect(stderr).toContain(problem);
  }
});

test('a folder without reports is said to be one', () => {
  const { status, stderr } = check(null);
  expect(status).toBe(1);
  expect(stderr).toMatch(/^no \*\.cu\.o\.log below /);
});
