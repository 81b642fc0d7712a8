// Builds and tests what is committed as a newcomer would, on a release of Debian that is not this machine's: in a folder
// that holds that system, with its own Node, compiler and libraries. Another processor's is run by qemu-user-static, where
// that is registered with the kernel (binfmt_misc). Needs root, debootstrap, a network, and 3 GB.
//
//   npm run test:debian -- [trixie] [arm64] [--folder FOLDER] [-- words for jest]
import { spawnSync } from 'node:child_process';
import { copyFileSync, existsSync, mkdirSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';

const root = join(dirname(fileURLToPath(import.meta.url)), '..');
const words = process.argv.slice(2);
const end = words.includes('--') ? words.indexOf('--') : words.length;
const { values, positionals } = parseArgs({
  args: words.slice(0, end),
  allowPositionals: true,
  options: { folder: { type: 'string' } },
});
const [release = 'trixie', arch = process.arch === 'x64' ? 'amd64' : process.arch] = positionals;
const system = values.folder ?? join(tmpdir(), `debian-${release}-${arch}`);
const clone = '/srv/xclip-native'; // within that system
const mounts = [
  ['-t', 'proc', 'proc', '/proc'],
  ['--bind', '/dev', '/dev'],
  ['-t', 'tmpfs', 'tmpfs', '/dev/shm'],
];

function run(command, ...args) {
  const { status, error } = spawnSync(command, args, { stdio: 'inherit' });
  if (status === 0) return;
  throw new Error(`"${command} ${args.join(' ')}" failed${error ? `: ${error.message}` : ''}`);
}

const inside = (...command) => run('chroot', system, 'env', '-C', clone, 'HOME=/root', ...command);

// The network's names and certificates are this machine's.
function share(file) {
  if (!existsSync(file)) return;
  mkdirSync(join(system, dirname(file)), { recursive: true });
  copyFileSync(file, join(system, file));
}

function makeSystem() {
  if (existsSync(join(system, 'usr/bin/apt-get'))) return;
  mkdirSync(system, { recursive: true });
  run('debootstrap', `--arch=${arch}`, '--variant=minbase', '--include=ca-certificates', release, system);
}

function mount() {
  for (const [kind, ...words] of mounts) {
    const place = join(system, words.pop());
    run('mount', kind, ...words, place);
    mounted.unshift(place);
  }
}

function installNode() {
  share('/etc/resolv.conf');
  mkdirSync(join(system, clone), { recursive: true });
  if (!existsSync(join(system, 'usr/bin/npm'))) {
    inside('apt-get', 'update', '-qq');
    inside('apt-get', 'install', '-y', '-qq', '--no-install-recommends', 'nodejs', 'npm');
  }
  share('/etc/ssl/certs/ca-certificates.crt'); // over what apt-get made
}

// Over what is there, so that a second run builds what has changed.
function copyCommitted() {
  run('sh', '-c', `git -C "${root}" archive HEAD | tar -x -C "${system}${clone}"`);
}

const mounted = [];
try {
  makeSystem();
  mount();
  installNode();
  copyCommitted();
  inside('npm', 'test', '--', ...words.slice(end + 1));
} catch (error) {
  console.error(`test:debian: ${error.message}`);
  process.exitCode = 1;
} finally {
  for (const place of mounted) spawnSync('umount', [place]);
}
