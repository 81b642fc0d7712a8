import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { createProgram } from '../../lib/cli/main';
import { packageVersion } from '../../lib/cli/version';
import { VideoReader } from '../../lib/data';
import { readCheckpoint, writeTorch } from '../../lib/io';
import { createTask, rawStateDict, XCLIP } from '../../lib/models';
import { buildCli, runCli } from '../support/built_cli';
import { fixturePath } from '../support/fixture';
import { readGolden } from '../support/golden';
import { makeTinyRun, type TinyRun } from '../support/tiny_run';

let tiny: TinyRun;
let checkpoint: string;
jest.setTimeout(240_000);

beforeAll(async () => {
  buildCli();
  tiny = await makeTinyRun(3, 1);
  const task = await createTask(tiny.config(), tiny.names);
  checkpoint = join(tiny.root, 'tiny.pth');
  await writeTorch(checkpoint, { model: rawStateDict(task.model), config: tiny.config() });
  task.dispose();
});
afterAll(() => tiny.remove());

async function succeed(words: string[]): Promise<string> {
  const { status, stdout, stderr } = await runCli(words, { cwd: tiny.root });
  expect({ status, stderr }).toEqual({ status: 0, stderr: '' });
  return stdout;
}

test('version and help', async () => {
  expect(await succeed(['--version'])).toBe(`${packageVersion()}\n`);
  const help = await succeed(['--help']);
  for (const command of ['train', 'test', 'launch', 'classify', 'info', 'convert', 'doctor', 'build']) {
    expect(help).toMatch(new RegExp(`^  ${command} `, 'm'));
    expect(await succeed([command, '--help'])).toContain(`xclip-native ${command}`);
  }
  const bare = await runCli([]);
  expect(bare.status).toBe(1);
  expect(bare.stderr).toMatch(/\nerror ERR_USAGE: no command was given; --help says what there is\n$/);
});

test('train, then test what it saved, with the official flags', async () => {
  const opts = ['--opts', 'TRAIN.EPOCHS', '1', 'AUG.MIXUP', '0.0', 'TEST.NUM_CLIP', '1', 'SEED', '5'];
  const flags = [
    '--output',
    'out',
    '--batch-size',
    '3',
    '--accumulation-steps',
    '2',
    '--seed',
    '3',
    '--threads',
    '1',
  ];
  const trained = await succeed(['train', '--cfg', tiny.cfg, ...flags, ...opts]);
  expect(trained).toMatch(/^Train: \[0\/1\]\[2\/3\]\t/m);
  expect(trained).toMatch(/^ \* Acc@1 \d+\.\d{3} Acc@5 100\.000$/m);
  expect(readdirSync(join(tiny.root, 'out'))).toEqual(
    expect.arrayContaining([
      'ckpt_epoch_0.pth',
      'config.yaml',
      'log_rank0.txt',
      'metrics.jsonl',
      'report.html',
      'results.json',
    ]),
  );
  expect(readFileSync(join(tiny.root, 'out/config.yaml'), 'utf8')).toMatch(/^SEED: 3$/m);
  const resume = join('out', 'ckpt_epoch_0.pth');
  const once = await succeed([
    'train',
    '-cfg',
    tiny.cfg,
    '--only_test',
    '--output',
    'tested',
    '--resume',
    resume,
  ]);
  const again = await succeed(['test', '-cfg', tiny.cfg, '--resume', resume, '--opts', 'TEST.NUM_CROP', '3']);
  const clips = ['--resume', resume, '--output', 'random', '--opts', 'TEST.NUM_CLIP', '4'];
  await succeed(['test', '-cfg', tiny.cfg, '--reference-sampling', ...clips]);
  const { protocol } = JSON.parse(readFileSync(join(tiny.root, 'random/results.json'), 'utf8'));
  expect(protocol).toMatchObject({ sampling: 'random' });
  expect(once).toContain('1 views inference');
  expect(again).toContain('3 views inference');
  expect(existsSync(join(tiny.root, 'tested', 'report.html'))).toBe(true);
  // A configuration that a run left starts the same run.
  await succeed(['test', '-cfg', join('out', 'config.yaml'), '--resume', resume, '--opts', 'OUTPUT', '']);
  expect(existsSync(join(tiny.root, 'exp'))).toBe(false); // a test writes where it is told to alone
});

test('Ctrl-C saves a checkpoint, exits with 130, and the run goes on from it', async () => {
  const words = ['train', '-cfg', tiny.cfg, '--output', 'stopped', '--opts', 'TRAIN.EPOCHS', '200'];
  let sent = false;
  const { status, stderr } = await runCli(words, {
    cwd: tiny.root,
    onStdout: (text, kill) => {
      if (sent || !text.includes('Train: [1/200][1/')) return;
      sent = true;
      kill('SIGINT');
      setTimeout(kill, 30, 'SIGINT'); // as npx does, which passes on what the terminal has sent already
    },
  });
  expect(status).toBe(130);
  const saved = /continue with --resume (\S+)/.exec(stderr)![1]!;
  const files = readdirSync(join(tiny.root, 'stopped'));
  expect(files.map((name) => join('stopped', name))).toContain(saved);
  expect(files.filter((name) => name.endsWith('.tmp'))).toEqual([]);
  expect(stderr).toContain('stopping; a checkpoint is being saved; once more to stop at once');
  const resumed = await succeed(['train', '-cfg', tiny.cfg, '--resume', saved]);
  expect(resumed).toContain(`resuming from ${saved}`);
  expect(resumed).toMatch(/^Report: exp.report\.html$/m);
  expect(existsSync(join(tiny.root, 'exp/report.html'))).toBe(true); // as the reference, which is told no folder
});

test('classify ranks the names, as text and as JSON', async () => {
  const clip = join('videos', `${tiny.names[1]} 0.mp4`);
  const words = ['classify', clip, clip, '--checkpoint', checkpoint, '--labels', 'labels.csv', '--top', '2'];
  const text = await succeed(words);
  expect(text.match(/^ +\d+\.\d\d % {2}/gm)).toHaveLength(4);
  const [first, second] = JSON.parse(await succeed([...words, '--json']));
  expect(first.path).toBe(clip);
  expect(first.classes).toHaveLength(2);
  expect(first.classes[0].probability).toBeGreaterThanOrEqual(first.classes[1].probability);
  expect(second).toEqual(first);
  const views = JSON.parse(
    await succeed([
      ...words,
      '--json',
      '--clips',
      '2',
      '--crops',
      '3',
      '--dtype',
      'bfloat16',
      '--labels',
      'one,other',
    ]),
  );
  expect(views[0].classes.map(({ label }: { label: string }) => label).sort()).toEqual(['one', 'other']);
});

test('how classify looks at a video changes what it finds', async () => {
  const wide = fixturePath('video/h264_b_frames.mp4');
  const words = ['classify', wide, '--checkpoint', checkpoint, '--labels', 'one,other', '--json'];
  const found = async (...more: string[]) => JSON.stringify(JSON.parse(await succeed([...words, ...more])));
  const all = [[], ['--crops', '3'], ['--clips', '2'], ['--dtype', 'bfloat16']];
  expect(new Set(await Promise.all(all.map((more) => found(...more)))).size).toBe(4);
});

test('classify passes on the time that a video may take, window by window too', async () => {
  const nothing = jest.fn(async function* () {});
  const model = { classifyEach: nothing, timeline: nothing, dispose: () => {} };
  jest.spyOn(XCLIP, 'load').mockResolvedValue(model as unknown as XCLIP);
  jest.spyOn(process.stdout, 'write').mockImplementation(() => true);
  const words = ['classify', 'x.mp4', '--checkpoint', 'x', '--labels', 'a', '--zero-shot', '--deadline', '7'];
  for (const more of [[], ['--window', '1']]) {
    await createProgram().parseAsync([...words, ...more], { from: 'user' });
    expect(nothing.mock.lastCall?.at(2 as never)).toMatchObject({ deadlineMs: 7000 });
  }
  expect(nothing).toHaveBeenCalledTimes(2);
  jest.restoreAllMocks();
});

test('Ctrl-C ends classify while it waits for pictures', async () => {
  const words = ['classify', '-', '--pictures', '32x32@4', '--window', '1', '--checkpoint', checkpoint];
  const child = spawn(process.execPath, [buildCli(), ...words, '--labels', 'labels.csv', '--json'], {
    cwd: tiny.root,
  });
  child.stdin.write(Buffer.alloc(32 * 32 * 3 * 5));
  child.stdout.once('data', () => child.kill('SIGINT')); // the first window is over, and nothing more comes
  expect(await once(child, 'close')).toEqual([130, null]);
});

test('classify looks at a long video window by window', async () => {
  const clip = join('videos', `${tiny.names[1]} 0.mp4`);
  const words = ['classify', clip, '--checkpoint', checkpoint, '--labels', 'labels.csv', '--top', '1'];
  const lasts = await VideoReader.open(join(tiny.root, clip)).then((video) => {
    video.close();
    return video.timestamps.at(-1)! + 1 / video.fps;
  });
  const window = ['--window', String(lasts / 2), '--stride', String(lasts / 4)];
  const parts = JSON.parse(await succeed([...words, ...window, '--json']));
  expect(parts.map(({ from }: { from: number }) => from)).toEqual(
    [0, 1, 2, 3].map((k) => expect.closeTo((k * lasts) / 4, 5)),
  );
  expect(parts.at(-1).to).toBeCloseTo(lasts, 5);
  const text = await succeed([...words, ...window]);
  expect(text.match(/ to \d+\.\d\d s$/gm)).toHaveLength(4);
  const { status, stderr } = await runCli([...words, '--stride', '1'], { cwd: tiny.root });
  expect({ status, stderr }).toEqual({ status: 1, stderr: expect.stringContaining('ERR_USAGE') });
});

test('classify looks at pictures that come on standard input as at those of a file', async () => {
  const clip = join('videos', `${tiny.names[1]} 0.mp4`);
  const words = ['--checkpoint', checkpoint, '--labels', 'labels.csv', '--window', '0.25', '--json'];
  using video = await VideoReader.open(join(tiny.root, clip));
  const { width, height, fps, frameCount } = video.info;
  const input = await video.getBatch(Array.from({ length: frameCount }, (_, i) => i));
  const piped = (size: string, bytes: Uint8Array) =>
    spawnSync(process.execPath, [buildCli(), 'classify', '-', '--pictures', size, ...words], {
      cwd: tiny.root,
      input: bytes,
      encoding: 'utf8',
    });
  const { status, stdout, stderr } = piped(`${width}x${height}@${fps}`, input);
  expect({ status, stderr }).toMatchObject({ status: 0 });
  const parts = stdout
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line));
  const expected = JSON.parse(await succeed(['classify', clip, ...words]));
  expect(parts.length).toBeGreaterThan(1);
  expect(parts).toEqual(expected.map((part: object) => ({ ...part, path: '-' })));
  expect(piped(`${width}x${height}@${fps}`, input.subarray(1))).toMatchObject({
    status: 1,
    stderr: expect.stringContaining('ERR_SHAPE'),
  });
  // What was to send them has failed, perhaps, and a pipe has the status of its last command.
  expect(piped('8x8@8', new Uint8Array(0))).toMatchObject({
    status: 1,
    stderr: expect.stringMatching(/^error ERR_VIDEO_EMPTY: standard input ended before a picture came$/m),
  });
  for (const wrong of [
    [clip, '--pictures', '8x8@8', ...words],
    ['-', ...words],
    ['-', clip, '--pictures', '8x8@8', ...words],
    ['-', '--pictures', '8x8', ...words],
    ['-', '--pictures', '0x8@8', ...words],
    ['-', '--pictures', '8x8@8', ...words.slice(0, 4)],
  ]) {
    const { status, stderr } = await runCli(['classify', ...wrong], { cwd: tiny.root });
    expect({ status, stderr }).toEqual({ status: 1, stderr: expect.stringContaining('ERR_USAGE') });
  }
});

test('info counts as the reference does', async () => {
  const golden = readGolden<{ configs: Record<string, number>[] }>('flops.json').configs[0]!;
  const shown = JSON.parse(await succeed(['info', '-cfg', 'configs/k400/32_8.yaml', '--json']));
  expect(shown).toMatchObject({ classes: 400, geometry: { arch: 'ViT-B/32', frames: 8 } });
  expect(shown.parameters.total).toBe(golden.parameters_total);
  expect(shown.operations.video / 1e9).toBeCloseTo(golden.counted_GFLOPs_all_but_text_encoder!, 4);
  expect(await succeed(['info', '-cfg', 'configs/k400/32_8.yaml'])).toContain('38.16');
  expect(await succeed(['info', '--checkpoint', checkpoint])).toMatch(
    /^custom, 4 frames of 32 x 32, 3 classes/,
  );
});

test('info measures what a configuration takes', async () => {
  const opts = ['--opts', 'MODEL.DEVICE', 'cpu', 'DATA.NUM_FRAMES', '2', 'TRAIN.BATCH_SIZE', '3'];
  const words = ['info', '-cfg', tiny.cfg, '--measure', ...opts];
  const { status, stdout, stderr } = await runCli(words, { cwd: tiny.root });
  expect(status).toBe(0);
  expect(stderr).toMatch(/measuring: training steps of 3 clips/);
  expect(stdout).toMatch(/^custom, 2 frames of 32 x 32, 3 classes/);
  const row = /^ {2}training step of 3 clips +([\d.]+) s +([\d.]+) GB +([\d.]+) clips\/s$/m.exec(stdout)!;
  const [seconds, gigabytes, rate] = row.slice(1).map(Number) as [number, number, number];
  expect(gigabytes).toBeLessThan(1);
  expect(Math.abs((rate * seconds) / 3 - 1)).toBeLessThan(0.2); // each is rounded
  const { costs } = JSON.parse((await runCli([...words, '--json'], { cwd: tiny.root })).stdout);
  expect(costs).toMatchObject({ device: 'cpu', test: { clips: 1 }, training: { clips: 3 } });
  const refused = await runCli(['info', '--checkpoint', checkpoint, '--measure'], { cwd: tiny.root });
  expect(refused).toMatchObject({ status: 1, stderr: expect.stringContaining('ERR_USAGE') });
});

function bytesOf({ buffer, byteOffset, byteLength }: Float32Array): Uint8Array {
  return new Uint8Array(buffer, byteOffset, byteLength);
}

test('convert keeps every weight', async () => {
  await succeed(['convert', checkpoint, 'weights.safetensors']);
  await succeed(['convert', 'weights.safetensors', 'half.PTH', '--dtype', 'float16']);
  await succeed(['convert', 'weights.safetensors', 'short.safetensors', '--dtype', 'bfloat16']);
  await succeed(['convert', 'half.PTH', 'full.safetensors', '--dtype', 'float32']);
  // Other tools ask for it, and a checkpoint of weights alone says nothing of classes.
  expect(readFileSync(join(tiny.root, 'weights.safetensors'), 'latin1')).toContain('"format":"pt"');
  expect(await succeed(['info', '--checkpoint', 'half.PTH'])).toMatch(/^custom, .*, 400 classes$/m);
  const [before, same, half, short, full] = await Promise.all(
    ['tiny.pth', 'weights.safetensors', 'half.PTH', 'short.safetensors', 'full.safetensors'].map((name) =>
      readCheckpoint(join(tiny.root, name)),
    ),
  );
  expect([...same!.stateDict.keys()].sort()).toEqual([...before!.stateDict.keys()].sort());
  for (const [name, tensor] of before!.stateDict) {
    const values = await tensor.float32();
    expect(Buffer.compare(await same!.stateDict.get(name)!.data(), await tensor.data())).toBe(0);
    const rounded = await half!.stateDict.get(name)!.float32();
    expect(half!.stateDict.get(name)!.dtype).toBe('float16');
    expect(full!.stateDict.get(name)!.dtype).toBe('float32');
    expect(Buffer.compare(await full!.stateDict.get(name)!.data(), bytesOf(rounded))).toBe(0);
    expect(Math.max(...rounded.slice(0, 50).map((x, i) => Math.abs(x - values[i]!)))).toBeLessThan(2e-3);
    expect(short!.stateDict.get(name)!.dtype).toBe('bfloat16');
    const shortened = await short!.stateDict.get(name)!.float32();
    expect(Math.max(...shortened.slice(0, 50).map((x, i) => Math.abs(x - values[i]!)))).toBeLessThan(2e-2);
  }
  for (const opened of [before, same, half, short, full]) await opened!.close();
});

test('doctor shows what there is, and what to install when an addon is missing', async () => {
  const healthy = await succeed(['doctor']);
  expect(healthy).toMatch(/^node +v\d+/m);
  expect(healthy).toMatch(/compute addon.*; \d+ kernels/);
  expect(healthy).toMatch(/^cuda +\S/m);
  expect(healthy).toMatch(/^processes +several can train together over Gloo, see launch$/m);
  expect(healthy).toMatch(/^libavcodec +\//m);
  expect(healthy).toMatch(/\n\nEverything is in place\.\n$/);
  const { status, stdout } = await runCli(['doctor'], { env: { VIDEO_ADDON_PATH: '/nowhere.node' } });
  expect(status).toBe(1);
  expect(stdout).toMatch(/decode addon +MISSING/);
  expect(stdout).toContain('apt-get install');
  const other = await runCli(['doctor'], { env: { NATIVE_COMPUTE_PATH: '/nowhere.node' } });
  expect(other.status).toBe(1);
  expect(other.stdout).toMatch(/compute addon +MISSING/);
});

test('build of an installation that is up to date names the addons', async () => {
  expect(await succeed(['build'])).toMatch(/^\/.*\/compute\.node\n\/.*\/video\.node\n$/);
});

test('a reader that goes away ends the command quietly', async () => {
  const command = `${JSON.stringify(process.execPath)} ${JSON.stringify(buildCli())} --help | head -n 1`;
  const { stdout, stderr } = spawnSync('sh', ['-c', command], { encoding: 'utf8' });
  expect(stdout.split('\n')).toHaveLength(2);
  expect(stderr).toBe('');
  expect(readFileSync(buildCli(), 'utf8')).toMatch(/^#!\/usr\/bin\/env node\n/);
});
