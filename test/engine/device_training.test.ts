import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { EngineEvent } from '../../lib/engine/events';
import { run } from '../../lib/engine/run';
import { defaultDevice, float32MatmulPrecision, memory } from '../../lib/native/device';
import { makeTinyRun, type TinyRun } from '../support/tiny_run';

// Whole runs on a CUDA device; the project "cpu" has nothing to compare. On the emulated device they are short.
const onCuda = () => defaultDevice() === 'cuda';
const onCard = process.env.TEST_GPU === '1';
let tiny: TinyRun;
beforeAll(async () => {
  tiny = await makeTinyRun();
});
afterAll(() => tiny.remove());

/** Runs the tiny configuration for `epochs` of four steps; `seen` is told of every step. */
async function losses(opts: string[], epochs: number, seen: () => void = () => {}): Promise<number[]> {
  const values: number[] = [];
  const listener = (event: EngineEvent) => {
    if (event.kind !== 'train') return;
    values.push(event.loss);
    seen();
  };
  const length = ['TRAIN.EPOCHS', String(epochs)];
  await run(tiny.config(['MODEL.DROP_PATH_RATE', '0.2', ...length, ...opts]), { listener });
  return values;
}

test.each([
  // Sums in another order differ in the last bits of float32 (6e-8), which twelve steps carry on; AdamW divides by the
  // size of a gradient, so where that is rounding noise an update may differ by the whole rate.
  { level: 'O0', allowed: 1e-5 },
  // bfloat16 rounds by up to 2^-9, 2e-3, and in other places; a few dozen roundings, of either sign, lie between input
  // and loss.
  { level: 'O1', allowed: 1e-2 },
])('CPU and CUDA go the same way, $level', async ({ level, allowed }) => {
  if (!onCuda()) return;
  const opts = ['TRAIN.OPT_LEVEL', level];
  const cpu = await losses([...opts, 'MODEL.DEVICE', 'cpu'], 3);
  const cuda = await losses([...opts, 'MODEL.DEVICE', 'cuda'], 3);
  const apart = cpu.map((loss, step) => Math.abs(loss - cuda[step]!) / loss);
  expect(Math.max(...apart)).toBeLessThan(allowed);
});

test('float32 is multiplied in tf32 where the configuration says so, and only there', async () => {
  if (!onCuda()) return;
  const [exact, rounded] = [
    await losses(['TRAIN.OPT_LEVEL', 'O0'], 1),
    await losses(['TRAIN.OPT_LEVEL', 'O0', 'TRAIN.FLOAT32_MATMUL', 'high'], 1),
  ];
  expect(float32MatmulPrecision()).toBe('highest');
  expect(rounded).not.toEqual(exact);
  // Operands are rounded by up to 2^-11, 5e-4.
  for (const [step, loss] of exact.entries())
    expect(Math.abs(rounded[step]! - loss) / loss).toBeLessThan(1e-3);
});

/** The numbers of metrics.jsonl that do not depend on time, memory or where the run is. */
function metricsOf(folder: string): unknown[] {
  const records = readFileSync(join(folder, 'metrics.jsonl'), 'utf8').trim().split('\n');
  return records.map((line) => {
    const { kind, epoch, step, loss, averageLoss, lr, batch, top1, top5, best } = JSON.parse(line);
    return { kind, epoch, step, loss, averageLoss, lr, batch, top1, top5, best };
  });
}

test('a run with recorded steps logs what one without them logs, and is resumed exactly', async () => {
  if (!onCuda()) return;
  const [graphs, plain] = [join(tiny.root, 'graphs'), join(tiny.root, 'plain')];
  const whole = await losses(['OUTPUT', graphs], 3);
  expect(await losses(['OUTPUT', plain, 'TRAIN.CUDA_GRAPH', 'False', 'TEST.CUDA_GRAPH', 'False'], 3)).toEqual(
    whole,
  );
  expect(metricsOf(graphs)).toEqual(metricsOf(plain));
  const log = (folder: string) => readFileSync(join(folder, 'log_rank0.txt'), 'utf8');
  expect(log(graphs)).toMatch(/steps of 2 videos are CUDA graphs/);
  expect(log(plain)).not.toMatch(/CUDA graphs/);
  const resumed = await losses(['MODEL.RESUME', join(graphs, 'ckpt_epoch_0.pth')], 3);
  expect(resumed).toEqual(whole.slice(4));
});

test('recorded steps hold device memory flat, and take none from the driver', async () => {
  if (!onCuda()) return;
  const epochs = onCard ? 250 : 5;
  const bytes: number[][] = [];
  const values = await losses([], epochs, () => {
    const { liveBytes, reservedBytes } = memory('cuda');
    bytes.push([liveBytes, reservedBytes]);
  });
  expect(values).toHaveLength(4 * epochs);
  // Two updates run as they are, the third is recorded; the first epoch ends with a test.
  const flat = bytes.slice(4).map(String);
  expect(flat).toEqual(flat.map(() => flat[0]));
});
