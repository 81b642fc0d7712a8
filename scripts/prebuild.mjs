// Packs what lets `npm install` work with no compiler and none of the system's libraries: a package for this platform
// with both addons and the libraries that they load, one more with CUDA where nvcc is found, and the main package, which
// names the former as an optional dependency. Linux with glibc, as old as this machine's or later.
//
//   npm run pack:prebuilt -- [--ffmpeg FOLDER] [--platforms linux-x64,linux-arm64] [--without-cuda]
//
// --ffmpeg: sources of FFmpeg; Debian's (`apt-get source`) otherwise. --platforms: those that the main package names, if
// others are packed elsewhere. The packages come to prebuilt/. In the end they are installed in an empty project, where
// they must decode and compute what the build of this clone does, with libraries of their own.
import { execFileSync, spawnSync } from 'node:child_process';
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  realpathSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { basename, dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { isDeepStrictEqual, parseArgs } from 'node:util';
import { buildFfmpeg, debianSource, ffmpegSettings, missingForFfmpeg } from './build_ffmpeg.mjs';

const root = join(dirname(fileURLToPath(import.meta.url)), '..');
const out = join(root, 'prebuilt');
const manifest = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'));
const platform = `${process.platform}-${process.arch}`;
const { values: options } = parseArgs({
  options: {
    ffmpeg: { type: 'string' },
    platforms: { type: 'string', default: platform },
    'without-cuda': { type: 'boolean', default: false },
  },
});

function fail(message) {
  console.error(`prebuild: ${message}`);
  process.exit(1);
}

function run(command, args, settings = {}) {
  const { status, error } = spawnSync(command, args, {
    stdio: ['ignore', 'inherit', 'inherit'],
    ...settings,
  });
  if (status !== 0) fail(`"${command} ${args.join(' ')}" failed${error ? `: ${error.message}` : ''}`);
}

const json = (value) => `${JSON.stringify(value, null, 2)}\n`;
const packageName = (target) => `@${manifest.name}/${target}`;

function checkTools() {
  if (process.platform !== 'linux') fail('packages are made on Linux only');
  const missing = missingForFfmpeg();
  if (spawnSync('patchelf', ['--version']).error) missing.push('patchelf');
  if (missing.length > 0) fail(`missing: apt-get install -y ${missing.join(' ')}`);
}

// Packs a folder; returns the tarball.
function pack(folder) {
  const words = ['pack', '--json', '--ignore-scripts', '--pack-destination', out];
  const packed = execFileSync('npm', words, { cwd: folder, stdio: ['ignore', 'pipe', 'inherit'] });
  return join(out, JSON.parse(packed)[0].filename);
}

// The main package as others will have it, unpacked: the addons are built from that. Without a build of its own in
// the way, since that comes first.
function unpackMain() {
  run('npm', ['run', '--silent', 'prepack'], { cwd: root });
  const folder = join(out, 'package');
  rmSync(folder, { recursive: true, force: true });
  run('tar', ['-xzf', pack(root), '-C', out]);
  const file = join(folder, 'package.json');
  const optionalDependencies = Object.fromEntries(
    options.platforms.split(',').map((target) => [packageName(target), manifest.version]),
  );
  writeFileSync(file, json({ ...JSON.parse(readFileSync(file, 'utf8')), optionalDependencies }));
  const tarball = pack(folder); // over the first
  symlinkSync(join(root, 'node_modules'), join(folder, 'node_modules'));
  return { folder, tarball };
}

// The libraries that every system with Node has.
const everywhere = /^(?:linux-vdso|ld-linux|lib(?:c|m|dl|rt|pthread|stdc\+\+|gcc_s))[-.]/;

// The other libraries that a file loads, and those that they load.
function librariesOf(file) {
  const lines = execFileSync('ldd', [file], { encoding: 'utf8' }).matchAll(/^\s*(\S+) => (\S+)/gm);
  const found = [...lines].map(([, name, path]) => ({ name, path }));
  return found.filter(({ name, path }) => {
    if (path === 'not') fail(`${name}, which ${file} loads, is not found`);
    return !everywhere.test(name);
  });
}

function copyLicense(library, folder) {
  for (const path of [realpathSync(library), `/usr${library}`, library]) {
    const { status, stdout } = spawnSync('dpkg', ['-S', path], { encoding: 'utf8' });
    if (status !== 0) continue;
    const name = stdout.split(':')[0];
    copyFileSync(`/usr/share/doc/${name}/copyright`, join(folder, `${name}.txt`));
    return;
  }
  fail(`no package of Debian's has ${library}, so its licence is not known`);
}

// Packs addons with what they load beside them.
function packAddons(target, description, addons, ffmpeg) {
  const folder = join(out, target);
  rmSync(folder, { recursive: true, force: true });
  mkdirSync(join(folder, 'licenses'), { recursive: true });
  const libraries = new Map(addons.flatMap(librariesOf).map(({ name, path }) => [name, path]));
  for (const [name, path] of [...addons.map((file) => [basename(file), file]), ...libraries]) {
    const copy = join(folder, name);
    copyFileSync(path, copy);
    run('strip', ['--strip-unneeded', copy]);
    // The old kind of path, in which libraries of libraries are looked for as well.
    run('patchelf', ['--force-rpath', '--set-rpath', '$ORIGIN', copy]);
  }
  for (const path of libraries.values()) copyLicense(path, join(folder, 'licenses'));
  if (ffmpeg) copyFileSync(join(ffmpeg, 'COPYING.LGPLv2.1'), join(folder, 'licenses/ffmpeg.txt'));
  copyFileSync(join(root, 'LICENSE'), join(folder, 'LICENSE'));
  const files = [...addons.map((path) => basename(path)), ...libraries.keys()];
  const glibc = newestGlibc(files.map((name) => join(folder, name)));
  writeFileSync(join(folder, 'README.md'), readme(description, [...libraries.keys()], glibc, ffmpeg));
  const { version, engines } = manifest;
  const license = 'SEE LICENSE IN README.md';
  const supported = { os: [process.platform], cpu: [process.arch], libc: ['glibc'] };
  const facts = { name: packageName(target), version, description, license, engines, ...supported };
  writeFileSync(join(folder, 'package.json'), json({ ...facts, preferUnplugged: true }));
  return pack(folder);
}

// The version of glibc that a system must have to load all of them.
function newestGlibc(files) {
  const symbols = execFileSync('objdump', ['-T', ...files], { encoding: 'utf8', maxBuffer: 2 ** 28 });
  const minors = [...symbols.matchAll(/\(GLIBC_2\.(\d+)/g)].map(([, minor]) => Number(minor));
  return `2.${Math.max(...minors)}`;
}

function readme(description, libraries, glibc, ffmpeg) {
  const parts = [
    `# ${description}`,
    `${manifest.name} loads it where it is installed: glibc ${glibc} or later.`,
  ];
  parts.push(`Beside are libraries that it loads, as Debian builds them: ${libraries.join(', ')}.`);
  if (ffmpeg) {
    const release = readFileSync(join(ffmpeg, 'RELEASE'), 'utf8').trim();
    parts.push(
      `\`video.node\` contains FFmpeg ${release}, which is under the LGPL, version 2.1 or later. \`scripts/prebuild.mjs\` of ` +
        `${manifest.name} makes it anew from the sources of Debian's package or from yours, configured with`,
      ffmpegSettings.map((setting) => `    ${setting}`).join('\n'),
    );
  }
  parts.push(
    `The addons are under the ${manifest.license} licence (LICENSE), what is beside and in them under those in \`licenses/\`.`,
  );
  return `${parts.join('\n\n')}\n`;
}

// Decodes every clip of the tests, encodes one anew and multiplies; argument: what to load the package by.
const trial = `
const { createHash } = require('node:crypto');
const { readdirSync } = require('node:fs');
const { add, data, matmul, tensor, VideoReader } = require(process.argv[2]);
const hash = (bytes) => createHash('sha256').update(bytes).digest('hex');
(async () => {
  const clips = {};
  const folder = ${JSON.stringify(join(root, 'test/fixtures/video'))};
  for (const name of readdirSync(folder).filter((file) => /[.](?:mp4|mkv|m2t|h264|mov|avi|webm)$/.test(file))) {
    const video = await VideoReader.open(folder + '/' + name);
    clips[name] = hash(await video.getBatch(Array.from({ length: video.length }, (_, i) => i)));
    video.close();
  }
  const numbers = Float32Array.from({ length: 256 * 256 }, (_, i) => Math.sin(i));
  const square = tensor(numbers, [256, 256]);
  const product = hash(Buffer.from((await matmul(square, square).data()).buffer));
  const { sharedObjects } = process.report.getReport();
  console.log(JSON.stringify({ results: { clips, product }, sharedObjects }));
})();
`;

// Installs the tarballs in an empty project and compares what they do with the build of this clone.
function check(tarballs) {
  const project = mkdtempSync(join(tmpdir(), 'prebuilt-'));
  writeFileSync(join(project, 'package.json'), json({ private: true }));
  run('npm', ['install', '--no-audit', '--no-fund', '--loglevel=error', ...tarballs], { cwd: project });
  const installed = join(project, 'node_modules', manifest.name);
  if (existsSync(join(installed, 'build'))) fail('npm install built the addons, although there are some');
  const file = join(project, 'trial.cjs');
  writeFileSync(file, trial);
  const by = (name) =>
    JSON.parse(
      execFileSync(process.execPath, [file, name], {
        cwd: project,
        env: { NATIVE_DEVICE: 'cpu' },
        encoding: 'utf8',
      }),
    );
  const [own, local] = [by(manifest.name), by(join(root, 'dist/index.js'))];
  if (!isDeepStrictEqual(own.results, local.results)) {
    fail(`results differ from this clone's: ${JSON.stringify([own.results, local.results], null, 2)}`);
  }
  const strange = own.sharedObjects.filter(
    (path) => !path.startsWith(realpathSync(project)) && !everywhere.test(basename(path)),
  );
  if (strange.length > 0) fail(`libraries of the system are loaded: ${strange.join(', ')}`);
  run(process.execPath, [join(installed, manifest.bin[manifest.name]), 'doctor'], { env: {} });
  rmSync(project, { recursive: true });
}

checkTools();
mkdirSync(out, { recursive: true });
run(process.execPath, [join(root, 'scripts/setup.mjs')]);
const ffmpeg = options.ffmpeg ? resolve(options.ffmpeg) : debianSource(join(out, 'source'));
if (!ffmpeg) fail('apt has no sources: add deb-src to its lists and update, or name a folder with --ffmpeg');
const pkgConfig = buildFfmpeg(ffmpeg, join(out, 'ffmpeg'));
if (!pkgConfig) fail('FFmpeg could not be built, see above');

const main = unpackMain();
const build = (script, words, env = process.env) =>
  run(process.execPath, [join(main.folder, 'scripts', script), ...words], { cwd: main.folder, env });
// FFmpeg's assembly reaches its tables as the static library's own, which -Bsymbolic makes them; nobody else sees them.
const LDFLAGS = '-Wl,-Bsymbolic -Wl,--exclude-libs,ALL';
build('build_video.mjs', [], { ...process.env, PKG_CONFIG_PATH: pkgConfig, LDFLAGS });
build('build_compute.mjs', ['--CDWITH_CUDA=OFF']);
const addon = (path) => join(main.folder, path);
const addons = [addon('build/Release/compute.node'), addon('bindings/video/build/Release/video.node')];
const tarballs = [packAddons(platform, `The addons of ${manifest.name} for ${platform}`, addons, ffmpeg)];
check([main.tarball, ...tarballs]);
const { native } = createRequire(import.meta.url)('../dist/native/load.js');
if (!options['without-cuda'] && native().deviceReport('cuda').built) {
  const description = `The compute addon of ${manifest.name} for ${platform}, with CUDA`;
  const local = join(root, 'build/Release/compute.node');
  tarballs.push(packAddons(`${platform}-cuda`, description, [local]));
  check([main.tarball, ...tarballs]);
}
console.log([main.tarball, ...tarballs].join('\n'));
