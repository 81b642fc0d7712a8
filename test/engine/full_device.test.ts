import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import { join } from 'node:path';
import { promisify } from 'node:util';
import type { EngineEvent } from '../../lib/engine/events';
import { RawTensor, readCheckpoint } from '../../lib/io';
import { defaultDevice } from '../../lib/native/device';
import { buildCli } from '../support/built_cli';
import { makeTinyRun, type TinyRun } from '../support/tiny_run';

// Whole runs, each in a process of its own, whose device is full once a step is recorded. The emulated device has little
// memory, so that filling it takes no time; the project "cpu" has nothing to record.
const onCuda = () => defaultDevice() === 'cuda';
const environment = { ...process.env, EMULATION_MEMORY: String(64 << 20) };
let tiny: TinyRun;
let plain: Awaited<ReturnType<typeof runOf>>;
beforeAll(async () => {
  if (!onCuda()) return;
  tiny = await makeTinyRun();
  buildCli();
  plain = await runOf('plain', 'never', 'TRAIN.CUDA_GRAPH', 'False');
});
afterAll(() => tiny?.remove());

/** A run that fills the device when a message has these words, once a step is recorded; and what it leaves. */
async function runOf(name: string, words: string, ...opts: string[]) {
  const output = join(tiny.root, name);
  const script = join(__dirname, 'full_device_run.cjs');
  const own = ['TRAIN.EPOCHS', '1', 'OUTPUT', output, ...opts];
  const { stdout } = await promisify(execFile)(process.execPath, [script, tiny.cfg, words, ...own], {
    env: environment,
  });
  const lines = stdout.trim().split('\n');
  const events = lines.map((line) => JSON.parse(line) as EngineEvent);
  const numbers = events.flatMap((event) => {
    if (event.kind === 'train') return [[event.step, event.loss, event.averageLoss, event.lr]];
    return event.kind === 'accuracy' ? [[event.clips, event.crops, event.top1, event.top5]] : [];
  });
  const codes = events.flatMap((event) => (event.kind === 'message' && event.code ? [event.code] : []));
  return { numbers, codes, state: await stateOf(join(output, 'ckpt_epoch_0.pth')) };
}

/** Digests of all tensors of a checkpoint, those of the optimizer among them. */
async function stateOf(path: string): Promise<string[]> {
  await using checkpoint = await readCheckpoint(path);
  const found: string[] = [];
  const walk = async (value: unknown): Promise<void> => {
    if (value instanceof RawTensor)
      found.push(
        createHash('sha256')
          .update(await value.data())
          .digest('hex'),
      );
    else if (value instanceof Map) for (const part of value.values()) await walk(part);
  };
  await walk(checkpoint.value);
  return found;
}

test.each([
  { what: 'a step', words: 'are CUDA graphs' },
  { what: 'an evaluation', words: 'views inference' },
])('$what that finds no memory beside recorded steps gets theirs', async ({ what, words }) => {
  if (!onCuda()) return;
  const recorded = await runOf(what, words);
  expect(plain.codes).toEqual([]);
  expect(recorded.codes).toEqual(['CUDA_GRAPH_GIVEN_UP']);
  expect(recorded.numbers).toEqual(plain.numbers);
  expect(recorded.state.length).toBeGreaterThan(200);
  expect(recorded.state).toEqual(plain.state);
});
