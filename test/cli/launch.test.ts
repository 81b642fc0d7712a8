import { createHash } from 'node:crypto';
import { copyFileSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { freePort } from '../../lib/distributed/launch';
import { RawTensor, readCheckpoint, writeTorch } from '../../lib/io';
import { createTask, rawStateDict } from '../../lib/models';
import { native } from '../../lib/native/load';
import { mul } from '../../lib/ops';
import { buildCli, type CliResult, runCli } from '../support/built_cli';
import { makeTinyRun, type TinyRun } from '../support/tiny_run';
import { damageVideo } from '../support/video_folder';

// 12 training videos: 3 steps an epoch for two processes with batches of 2 each, and for one with batches of 4.
let tiny: TinyRun;
jest.setTimeout(240_000);
beforeAll(async () => {
  buildCli();
  tiny = await makeTinyRun(4, 2);
  const task = await createTask(tiny.config(), tiny.names);
  await writeTorch(join(tiny.root, 'weights.pth'), { model: rawStateDict(task.model) });
  task.dispose();
});
afterAll(() => tiny.remove());

// What depends on the composition of a batch, or is drawn for each process, is left out.
const alike = ['AUG.MIXUP', '0', 'MODEL.DROP_PATH_RATE', '0', 'TRAIN.OPT_LEVEL', 'O0'];

type Hook = Parameters<typeof runCli>[1];

function cli(words: string[], options: Hook = {}): Promise<CliResult> {
  return runCli(words, { cwd: tiny.root, ...options, env: { NATIVE_DEVICE: 'cpu', ...options?.env } });
}

const trainWords = (output: string, opts: string[]) => [
  ...['train', '-cfg', tiny.cfg, '--output', output, '--threads', '1'],
  ...['--opts', ...alike, ...opts],
];

function train(output: string, opts: string[], processes: number, options?: Hook): Promise<CliResult> {
  const launch = processes > 1 ? ['launch', '--nproc-per-node', String(processes)] : [];
  return cli([...launch, ...trainWords(output, opts)], options);
}

async function succeed(running: Promise<CliResult>): Promise<string> {
  const { status, stdout, stderr } = await running;
  expect({ status, stderr }).toEqual({ status: 0, stderr: '' });
  return stdout;
}

/** All parameters of a checkpoint. */
async function weights(path: string): Promise<Map<string, Float32Array>> {
  const checkpoint = await readCheckpoint(path);
  try {
    const model = (checkpoint.value as Map<string, unknown>).get('model') as Map<string, RawTensor>;
    const found = new Map<string, Float32Array>();
    for (const [name, value] of model) if (value instanceof RawTensor) found.set(name, await value.float32());
    return found;
  } finally {
    await checkpoint.close();
  }
}

/** What stands for parameters when all must be equal: a comparison of the numbers themselves is too long to print. */
function digests(all: Map<string, Float32Array>): Record<string, string> {
  const bytes = (values: Float32Array) => new Uint8Array(values.buffer, values.byteOffset, values.byteLength);
  const digest = (values: Float32Array) => createHash('sha256').update(bytes(values)).digest('hex');
  return Object.fromEntries([...all].map(([name, values]) => [name, digest(values)]));
}

const predictions = (output: string) =>
  JSON.parse(readFileSync(join(tiny.root, output, 'results.json'), 'utf8'));

test('two processes learn what one learns from batches twice as large', async () => {
  await succeed(train('one', ['TRAIN.BATCH_SIZE', '4'], 1));
  const shown = await succeed(train('two', ['TRAIN.BATCH_SIZE', '2'], 2));
  expect(shown).toMatch(/^Train: \[1\/2\]\[2\/3\]\t/m);
  expect(shown).not.toContain('[rank 1]'); // it has nothing to say
  expect(readdirSync(join(tiny.root, 'two')).sort()).toEqual(readdirSync(join(tiny.root, 'one')).sort());
  const [one, two] = await Promise.all(
    ['one', 'two'].map((output) => weights(join(tiny.root, output, 'ckpt_epoch_1.pth'))),
  );
  expect([...two!.keys()]).toEqual([...one!.keys()]);
  const first = await weights(join(tiny.root, 'one', 'ckpt_epoch_0.pth'));
  let learnt = 0;
  let far = 0;
  for (const [name, values] of one!) {
    const theirs = two!.get(name)!;
    const before = first.get(name)!;
    values.forEach((value, i) => {
      // Adam divides by the gradient's size: where that is rounding alone, updates differ by up to a learning rate.
      if (Math.abs(value - theirs[i]!) > 2e-4 + 1e-3 * Math.abs(value)) far++;
      if (value !== before[i]) learnt++;
    });
  }
  expect(far).toBe(0);
  expect(learnt).toBeGreaterThan(100_000);
});

test('all begin with the weights of rank 0, whatever the files of the others hold', async () => {
  const other = await createTask(tiny.config(), tiny.names);
  for (const parameter of other.model.parameters()) parameter.assign(mul(parameter, 1.5));
  for (const folder of ['own', 'foreign']) mkdirSync(join(tiny.root, folder));
  copyFileSync(join(tiny.root, 'weights.pth'), join(tiny.root, 'own/weights.pth'));
  await writeTorch(join(tiny.root, 'foreign/weights.pth'), { model: rawStateDict(other.model) });
  other.dispose();
  const learnt = async (output: string, folders: string[]) => {
    const port = String(await freePort());
    const opts = ['MODEL.RESUME', 'weights.pth', 'TRAIN.BATCH_SIZE', '2', 'TRAIN.EPOCHS', '1'];
    const job = { WORLD_SIZE: '2', MASTER_ADDR: '127.0.0.1', MASTER_PORT: port, OMP_NUM_THREADS: '1' };
    const ends = await Promise.all(
      folders.map((folder, rank) =>
        cli(trainWords(output, opts), {
          cwd: join(tiny.root, folder),
          env: { ...job, RANK: String(rank) },
        }),
      ),
    );
    expect(ends.map(({ status }) => status)).toEqual([0, 0]);
    return digests(await weights(join(tiny.root, folders[0]!, output, 'ckpt_epoch_0.pth')));
  };
  const alone = await learnt('alike', ['own', 'own']);
  expect(await learnt('unlike', ['own', 'foreign'])).toEqual(alone);
});

test('bad samples are counted over all processes', async () => {
  const list = readFileSync(join(tiny.root, 'train.txt'), 'utf8').trim().split('\n');
  const gone = list.map((line, i) => (i % 3 === 0 ? `gone ${i}.mp4 0` : line));
  writeFileSync(join(tiny.root, 'gone.txt'), gone.map((line) => `${line}\n`).join(''));
  const opts = ['DATA.TRAIN_FILE', join(tiny.root, 'gone.txt'), 'DATA.ON_ERROR', 'skip', 'TRAIN.EPOCHS', '1'];
  const { status } = await train('bad', [...opts, 'TRAIN.BATCH_SIZE', '2'], 2);
  expect(status).toBe(0);
  const events = readFileSync(join(tiny.root, 'bad/metrics.jsonl'), 'utf8').trim().split('\n');
  const epochs = events.map((line) => JSON.parse(line)).filter(({ kind }) => kind === 'epoch');
  expect(epochs).toEqual([expect.objectContaining({ failed: 4, damaged: 0 })]);
});

test.each([3, 7])('%d processes count every one of 6 test videos exactly once', async (processes) => {
  await succeed(train('model', ['TRAIN.EPOCHS', '1'], 1));
  const words = ['test', '-cfg', tiny.cfg, '--resume', 'model/ckpt_epoch_0.pth', '--threads', '1'];
  const opts = ['--opts', 'TEST.BATCH_SIZE', '1', 'TEST.NUM_CLIP', '2'];
  await succeed(cli([...words, '--output', 'alone', ...opts]));
  const launch = ['launch', '--nproc-per-node', String(processes)];
  await succeed(cli([...launch, ...words, '--output', 'together', ...opts]));
  const alone = predictions('alone');
  expect(alone.videos ?? alone.protocol).toBeDefined();
  expect({ ...predictions('together'), date: null }).toEqual({ ...alone, date: null });
});

test('Ctrl-C stops all after the same step; the run goes on from the checkpoint to the same weights', async () => {
  const opts = ['TRAIN.BATCH_SIZE', '1', 'TRAIN.EPOCHS', '2'];
  await succeed(train('unbroken', opts, 2));
  let asked = false;
  const stopped = await train('broken', opts, 2, {
    onStdout: (text, kill) => {
      if (asked || !text.includes('[0/2][2/6]')) return;
      asked = true;
      kill('SIGINT');
    },
  });
  expect(stopped.status).toBe(130);
  const [, saved] = /continue with --resume (\S+)/.exec(stopped.stderr) ?? [];
  expect(saved).toMatch(/^broken\/ckpt_epoch_0_batch_\d\.pth$/);
  expect(stopped.stderr).not.toMatch(/launch: |ERR_|\[rank 1\]/);
  await succeed(train('broken', [...opts, 'TRAIN.AUTO_RESUME', 'True'], 2));
  const [whole, resumed] = await Promise.all(
    ['unbroken', 'broken'].map((output) => weights(join(tiny.root, output, 'ckpt_epoch_1.pth'))),
  );
  expect(digests(resumed!)).toEqual(digests(whole!));
});

/** Numbers and command lines of running processes that write to this folder. */
function writersTo(output: string): string[] {
  const lines = readdirSync('/proc').map((entry) => {
    try {
      if (!/^\d+$/.test(entry)) return '';
      return `${entry} ${readFileSync(`/proc/${entry}/cmdline`, 'utf8').replaceAll('\0', ' ')}`;
    } catch {
      return ''; // it has ended since
    }
  });
  return lines.filter((line) => line.includes(tiny.cfg) && line.includes(`--output ${output} `));
}

test.each([1, 2])('when launch is killed its processes (%d) save a checkpoint and end', async (processes) => {
  const output = `orphaned_${processes}`;
  const words = ['train', '-cfg', tiny.cfg, '--output', output, '--threads', '1'];
  const opts = ['--opts', 'TRAIN.BATCH_SIZE', '1', 'TRAIN.EPOCHS', '1000'];
  let running = 0;
  let killed = 0;
  // Its output closes when the last process that writes to it has ended.
  const { status, stderr } = await cli(['launch', '--nproc-per-node', String(processes), ...words, ...opts], {
    onStdout: (text, kill) => {
      if (killed || !/\[0\/1000\]\[2\//.test(text)) return;
      running = writersTo(output).length;
      killed = performance.now();
      kill('SIGKILL');
    },
  });
  expect(running).toBe(processes + 1);
  expect(performance.now() - killed).toBeLessThan(20_000);
  expect(status).toBeNull();
  expect(stderr).toContain('launch has ended before its processes, killed perhaps; they end too');
  expect(stderr).not.toContain('ERR_');
  const [, saved] = /continue with --resume (\S+)/.exec(stderr) ?? [];
  expect((await weights(join(tiny.root, saved!))).size).toBeGreaterThan(10);
  for (let i = 0; i < 100 && writersTo(output).length > 0; i++)
    await new Promise((resolve) => setTimeout(resolve, 100));
  expect(writersTo(output)).toEqual([]);
});

test('a process that is killed is named, and is a failure', async () => {
  const output = 'killed';
  const words = ['train', '-cfg', tiny.cfg, '--output', output, '--threads', '1'];
  let killed = false;
  const { status, stderr } = await cli(['launch', ...words, '--opts', 'TRAIN.EPOCHS', '1000'], {
    onStdout: (text) => {
      if (killed || !text.includes('[0/1000]')) return;
      killed = true;
      const [own] = writersTo(output).filter((line) => !line.includes(' launch '));
      process.kill(Number.parseInt(own!, 10), 'SIGKILL');
    },
  });
  expect([status, stderr]).toEqual([1, 'launch: rank 0 was killed by SIGKILL\n']);
});

test('what all processes would warn of is said once', async () => {
  const { status, stderr } = await cli(
    [
      ...[
        'launch',
        '--nproc-per-node',
        '3',
        'train',
        '-cfg',
        tiny.cfg,
        '--output',
        'warned',
        '--threads',
        '1',
      ],
      ...['--resume', 'weights.pth', '--seed', '8', '--opts', 'TRAIN.EPOCHS', '1', 'TRAIN.BATCH_SIZE', '1'],
    ],
    { env: { NATIVE_DEVICE: 'auto' } },
  );
  const { built, unavailable } = native().deviceReport('cuda');
  const fallback =
    built && unavailable ? [`warning DEVICE_FALLBACK: computing on the CPU: ${unavailable}`] : [];
  const weightsOnly =
    'warning: weights.pth holds weights only, no optimizer state: training starts at epoch 0 with these weights';
  expect(stderr.trimEnd().split('\n')).toEqual([...fallback, weightsOnly]);
  expect(status).toBe(0);
});

test('what is wrong for all is said by rank 0 and by one other', async () => {
  const words = ['launch', '--nproc-per-node', '5', 'train', '-cfg', 'missing.yaml'];
  const { status, stderr } = await cli(words);
  const text = 'error ERR_FILE_NOT_FOUND: configuration file missing.yaml does not exist';
  const lines = stderr.trimEnd().split('\n').sort();
  expect(lines).toEqual([expect.stringMatching(/^\[rank [1-4]\] /), text]);
  expect(lines[0]!.slice('[rank 1] '.length)).toBe(text);
  expect(status).toBe(1);
});

test('a descriptor of the launcher that is none is refused', async () => {
  const { status, stderr } = await cli(['train', '-cfg', tiny.cfg], { env: { JOB_LAUNCHER_FD: '99' } });
  expect(status).toBe(1);
  expect(stderr).toContain(
    'error ERR_DISTRIBUTED: the environment variable JOB_LAUNCHER_FD is "99", which is',
  );
});

test('when one process fails all end, and say which and why', async () => {
  const list = readFileSync(join(tiny.root, 'val.txt'), 'utf8').split('\n');
  const second = list[1]!.slice(0, list[1]!.lastIndexOf(' ')); // a video of rank 1
  damageVideo(join(tiny.root, 'videos', second));
  const words = ['test', '-cfg', tiny.cfg, '--resume', 'model/ckpt_epoch_0.pth', '--threads', '1'];
  const { status, stderr } = await cli(['launch', '--nproc-per-node', '2', ...words]);
  expect(status).toBe(1);
  expect(stderr).toMatch(/^\[rank 1\] error ERR_VIDEO_\w+: /m);
  expect(stderr).toMatch(/^error ERR_DISTRIBUTED: rank 1 has left the job: .*\.mp4/m);
});

test('processes with different configurations are refused', async () => {
  const port = String(await freePort());
  const words = ['train', '-cfg', tiny.cfg, '--output', 'none', '--threads', '1'];
  const env = { WORLD_SIZE: '2', MASTER_ADDR: '127.0.0.1', MASTER_PORT: port };
  const ends = await Promise.all(
    ['7', '8'].map((seed, rank) => cli([...words, '--seed', seed], { env: { ...env, RANK: String(rank) } })),
  );
  expect(ends.map(({ status }) => status)).toEqual([1, 1]);
  expect(ends[0]!.stderr).toContain('error ERR_CONFIG_VALUE: rank 1 was started with another configuration');
  expect(readdirSync(tiny.root)).not.toContain('none');
});

test.each([
  [['launch', 'classify', 'x.mp4'], /ERR_USAGE: launch runs train or test, not "classify"/],
  [
    ['launch', '--rdzv-endpoint', 'nowhere', 'train'],
    /ERR_USAGE: --rdzv-endpoint is "nowhere", not host:port/,
  ],
  [['launch', '--rdzv-endpoint', 'host:0', 'train'], /ERR_USAGE: --rdzv-endpoint is "host:0", not host:port/],
  [['launch', '--rdzv-endpoint', 'host:65536', 'train'], /ERR_USAGE: .* is "host:65536", not host:port/],
  [['launch', '--nnodes', '2', 'train'], /ERR_USAGE: several machines meet at --rdzv-endpoint/],
  [
    ['launch', '--nnodes', '2', '--node-rank', '2', '--rdzv-endpoint', 'host:1', 'train'],
    /ERR_USAGE: --node-rank counts machines from 0: of 2 none has 2/,
  ],
  [['launch', '--nproc-per-node', '0', 'train'], /ERR_USAGE/],
])('%j is refused', async (words, message) => {
  const { status, stderr } = await cli(words);
  expect(status).toBe(1);
  expect(stderr).toMatch(message);
});

test('processes are told what launch was told, and what they print is passed on', async () => {
  const names = ['RANK', 'LOCAL_RANK', 'WORLD_SIZE', 'MASTER_ADDR', 'MASTER_PORT', 'JOB_TOKEN'];
  writeFileSync(
    join(tiny.root, 'say.cjs'),
    `if (process.env.RANK !== undefined) {
       console.log(${JSON.stringify(names)}.map((name) => process.env[name]).join(' '));
       for (const say of [console.log, console.error]) say('error that all have');
       process.exit();
     }`,
  );
  const machine = ['--nnodes', '2', '--node-rank', '1', '--rdzv-endpoint', '[::1]:29500'];
  const { status, stdout, stderr } = await cli(
    ['launch', ...machine, '--nproc-per-node', '3', 'train', '-cfg', tiny.cfg],
    { env: { NODE_OPTIONS: '--require ./say.cjs', JOB_TOKEN: 'secret' } },
  );
  const lines = (text: string) => text.trimEnd().split('\n').sort();
  expect(status).toBe(0);
  expect(lines(stdout)).toEqual([
    '3 0 6 ::1 29500 secret',
    '[rank 4] 4 1 6 ::1 29500 secret',
    '[rank 4] error that all have',
    '[rank 5] 5 2 6 ::1 29500 secret',
    '[rank 5] error that all have',
    'error that all have',
  ]);
  expect(lines(stderr)).toEqual([expect.stringMatching(/^\[rank [45]\] error/), 'error that all have']);
});

test('a job that is described by halves is refused', async () => {
  const { status, stderr } = await cli(['train', '-cfg', tiny.cfg], { env: { WORLD_SIZE: '2' } });
  expect(status).toBe(1);
  expect(stderr).toContain('error ERR_DISTRIBUTED: the environment variable MASTER_ADDR is missing');
});
