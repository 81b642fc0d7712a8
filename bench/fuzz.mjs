// npm run fuzz [-- --mutations 2000 --seed 1 CLIP ...]
//
// Builds the video reader and the pixel work with AddressSanitizer and UndefinedBehaviorSanitizer and lets them read
// damaged clips (bench/fuzz/fuzz_video.cc), by default those of test/fixtures/video. Fails at the first crash, hang or
// unexpected error, naming the mutation and how to repeat it. Results of 2,000 mutations and more go to
// bench/results/fuzz.json, those of other clips to fuzz_clips.json.
import { execFileSync, spawn } from 'node:child_process';
import { mkdirSync, readdirSync, statSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { basename, join } from 'node:path';
import { parseArgs } from 'node:util';
import { root, saveResult } from './machine.mjs';

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    mutations: { type: 'string', default: '2000' },
    seed: { type: 'string', default: '1' },
    from: { type: 'string', default: '0' },
  },
});
const fixtures = join(root, 'test/fixtures/video');
const isClip = (name) => /\.(?:mp4|mkv|mov|avi|webm|m2t|h264)$/.test(name);
const clips =
  positionals.length > 0
    ? positionals
    : readdirSync(fixtures)
        .filter(isClip)
        .map((name) => join(fixtures, name));
const mutations = Number(values.mutations);
const chunk = 25; // mutations of one process
const hangMs = 300_000; // of one process

const headersIn = (folder) =>
  readdirSync(folder)
    .filter((name) => name.endsWith('.h'))
    .map((name) => join(folder, name));

/** The path of the program, which is built unless it is newer than its sources. */
function build() {
  const folder = join(root, 'build/fuzz');
  mkdirSync(folder, { recursive: true });
  const program = join(folder, 'fuzz_video');
  const sources = ['video', 'data'].flatMap((part) =>
    readdirSync(join(root, 'native', part))
      .filter((name) => name.endsWith('.cc'))
      .map((name) => join(root, 'native', part, name)),
  );
  const fuzzer = join(root, 'bench/fuzz/fuzz_video.cc');
  const headers = ['core', 'video', 'data'].flatMap((part) => headersIn(join(root, 'native', part)));
  const changed = (path) => statSync(path, { throwIfNoEntry: false })?.mtimeMs ?? 0;
  if (changed(program) > Math.max(...[fuzzer, ...sources, ...headers].map(changed))) return program;
  const libraries = ['libavformat', 'libavcodec', 'libswscale', 'libavutil'];
  const flags = execFileSync('pkg-config', ['--cflags', '--libs', ...libraries], { encoding: 'utf8' });
  const checks = ['-fsanitize=address,undefined', '-fno-sanitize-recover=all', '-fno-omit-frame-pointer'];
  console.log('fuzz: building with AddressSanitizer and UndefinedBehaviorSanitizer');
  execFileSync(
    'g++',
    ['-std=c++17', '-O1', '-g1', '-Wall', '-Wextra', '-Werror', ...checks, fuzzer].concat(sources, [
      '-o',
      program,
      '-pthread',
      ...flags.trim().split(/\s+/),
    ]),
    { stdio: 'inherit' },
  );
  return program;
}

const children = new Set();
process.on('exit', () => {
  for (const child of children) child.kill('SIGKILL');
});

/** The outcomes of `count` mutations from `first` on; throws with what the program said last when it fails. */
function run(program, first, count) {
  return new Promise((resolve, reject) => {
    const args = [values.seed, String(first), String(count), ...clips];
    const env = {
      ...process.env,
      ASAN_OPTIONS: 'allocator_may_return_null=1:detect_leaks=1',
      UBSAN_OPTIONS: 'print_stacktrace=1',
    };
    const child = spawn(program, args, { env, timeout: hangMs, killSignal: 'SIGKILL' });
    children.add(child);
    let [out, said] = ['', ''];
    child.stdout.on('data', (text) => {
      out += text;
    });
    child.stderr.on('data', (text) => {
      said = (said + text).slice(-20_000);
    });
    child.on('error', reject);
    child.on('close', (status, signal) => {
      children.delete(child);
      if (status === 0) return resolve(JSON.parse(out));
      const mutation = [...said.matchAll(/^mutation (\d+)$/gm)].at(-1)?.[1] ?? first;
      const repeat = `npm run fuzz -- --seed ${values.seed} --from ${mutation} --mutations 1 ${positionals.join(' ')}`;
      reject(
        new Error(
          `${signal ?? `status ${status}`} at mutation ${mutation}\n${said}\nTo repeat it: ${repeat}`,
        ),
      );
    });
  });
}

const program = build();
const first = Number(values.from);
const starts = Array.from({ length: Math.ceil(mutations / chunk) }, (_, i) => first + i * chunk);
const outcomes = {};
let slowestMs = 0;
let done = 0;
const started = performance.now();
async function work() {
  for (let start = starts.shift(); start !== undefined; start = starts.shift()) {
    const count = Math.min(chunk, first + mutations - start);
    const { slowestMs: slow, ...counts } = await run(program, start, count);
    slowestMs = Math.max(slowestMs, slow);
    for (const [outcome, times] of Object.entries(counts))
      outcomes[outcome] = (outcomes[outcome] ?? 0) + times;
    done += count;
    if (done % (chunk * 10) === 0) console.log(`fuzz: ${done} of ${mutations}`);
  }
}
try {
  await Promise.all(Array.from({ length: Math.min(2, availableParallelism()) }, work));
} catch (error) {
  console.error(`fuzz: ${error.message}`);
  process.exit(1);
}
const result = {
  mutations,
  seed: Number(values.seed),
  clips: clips.map((clip) => basename(clip)),
  crashes: 0,
  hangs: 0,
};
const seconds = Math.round((performance.now() - started) / 1000);
console.log(JSON.stringify({ ...result, outcomes, slowestMs, seconds }, null, 1));
if (mutations >= 2000)
  console.log(
    saveResult(positionals.length > 0 ? 'fuzz_clips' : 'fuzz', { ...result, outcomes, slowestMs, seconds }),
  );
