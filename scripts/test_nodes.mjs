// Runs the tests of what depends most on Node (the package, the addons and how processes end) with its other releases, which
// come from the npm registry. One that cannot be fetched is left out, and that is said.
//
//   npm run test:nodes -- [22 24 26]
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { delimiter, dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = join(dirname(fileURLToPath(import.meta.url)), '..');
const versions = process.argv.length > 2 ? process.argv.slice(2) : ['22', '24', '26'];
const tests = [
  'package/(package|prebuilt|readme|samples)', // and not how TypeScript resolves its types
  'native/(device|video|fuzz_arguments)',
  'tensor/tensor',
  'cli/(progress|interrupt|warnings)',
];
const build = `node-${process.platform}-${process.arch}`; // the package that holds the program
const folder = mkdtempSync(join(tmpdir(), 'nodes-'));

async function fetched(version) {
  const prefix = join(folder, version);
  const words = [
    'install',
    '--prefix',
    prefix,
    '--no-audit',
    '--no-fund',
    '--loglevel=error',
    `${build}@${version}`,
  ];
  const [status] = await once(spawn('npm', words, { stdio: ['ignore', 'ignore', 'inherit'] }), 'close');
  const program = join(prefix, 'node_modules', build, 'bin/node');
  return status === 0 && existsSync(program) ? program : undefined;
}

let failed = false;
const programs = await Promise.all(versions.map(fetched));
for (const [index, version] of versions.entries()) {
  const program = programs[index];
  if (!program) {
    console.log(`Node ${version}: left out, it could not be fetched`);
    continue;
  }
  const path = `${dirname(program)}${delimiter}${process.env.PATH}`; // what tests start as "node" as well
  const jest = join(root, 'node_modules/jest/bin/jest.js');
  const words = [
    jest,
    '--ci',
    '--silent',
    '--selectProjects',
    'cpu',
    '--',
    ...tests.map((name) => `test/${name}`),
  ];
  const { status } = spawnSync(program, words, {
    cwd: root,
    stdio: ['ignore', 'inherit', 'inherit'],
    env: { ...process.env, PATH: path },
    timeout: 300_000, // a process that does not end is what is looked for
  });
  console.log(`Node ${version}: ${status === 0 ? 'passed' : 'FAILED'}`);
  failed ||= status !== 0;
}
rmSync(folder, { recursive: true });
process.exit(failed ? 1 : 0);
