// Runs that are killed outright, at moments of no one's choosing, and started again. The moments come early, so that a fast
// machine is not through before.
import { appendFileSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { Philox } from '../../lib/base/philox';
import type { EngineEvent, TrainStep } from '../../lib/engine/events';
import { readMetrics } from '../../lib/engine/report';
import { runCli } from '../support/built_cli';
import { makeTinyRun, type TinyRun } from '../support/tiny_run';

const KILLS = 6;

let tiny: TinyRun;
beforeAll(async () => {
  tiny = await makeTinyRun();
});
afterAll(() => tiny.remove());

/** Trains for twelve epochs of four steps; `killAfter` milliseconds from the first step of a process on it is killed. */
async function train(output: string, killAfter?: number): Promise<number | null> {
  let timer: NodeJS.Timeout | undefined;
  const { status, stderr } = await runCli(
    [
      'train',
      '-cfg',
      tiny.cfg,
      '--output',
      output,
      '--opts',
      'TRAIN.EPOCHS',
      '12',
      'TRAIN.AUTO_RESUME',
      'True',
    ],
    {
      env: { OMP_NUM_THREADS: '1' },
      onStdout: (text, kill) => {
        if (killAfter === undefined || timer || !text.includes('Train: [')) return;
        timer = setTimeout(kill, killAfter, 'SIGKILL');
      },
    },
  );
  clearTimeout(timer);
  if (status !== null && status !== 0) throw new Error(stderr);
  return status;
}

/** Loss and rate of every step, and the accuracy after every epoch. */
async function courseOf(output: string): Promise<unknown[]> {
  const events = await readMetrics(join(output, 'metrics.jsonl'));
  const steps = events.filter((event): event is TrainStep => event.kind === 'train');
  const tests = new Map(
    events
      .filter((event): event is Extract<EngineEvent, { kind: 'accuracy' }> => event.kind === 'accuracy')
      .map(({ epoch, top1 }) => [epoch, top1]),
  );
  return [
    ...steps
      .sort((a, b) => a.epoch - b.epoch || a.step - b.step)
      .map(({ epoch, step, loss, lr }) => [epoch, step, loss, lr]),
    ...[...tests].sort(([a], [b]) => (a ?? 99) - (b ?? 99)),
  ];
}

test('a run that is killed again and again ends as if nothing had happened', async () => {
  const [whole, killed] = [join(tiny.root, 'whole'), join(tiny.root, 'killed')];
  expect(await train(whole)).toBe(0);
  const random = new Philox(11);
  let killings = 0;
  for (let i = 0; i < KILLS; i++) {
    if ((await train(killed, Math.floor(random.uniform() * 120))) === null) killings++;
    appendFileSync(join(killed, 'metrics.jsonl'), '{"kind":"train","ep'); // as a full disk or lost power leaves it
  }
  expect(killings).toBeGreaterThan(1);
  expect(await train(killed)).toBe(0);
  const expected = await courseOf(whole);
  expect(expected).toHaveLength(12 * 4 + 13);
  expect(await courseOf(killed)).toEqual(expected);
  expect(readdirSync(killed).sort()).toEqual(readdirSync(whole).sort());
}, 180_000);
