import { AdamW } from '../../lib/optim/adamw';
import { CosineSchedule } from '../../lib/optim/schedule';
import { tensor } from '../../lib/tensor/tensor';
import { readGolden } from '../support/golden';

interface Recorded {
  LR: number;
  EPOCHS: number;
  WARMUP_EPOCHS: number;
  ACCUMULATION_STEPS: number;
  lr_min: number;
  t_initial: number;
  warmup_t: number;
  rows: { step_update_arg: number; lr_used: number[]; lr_after: number[] }[];
}

const { lr_schedules: recorded } = readGolden<{ lr_schedules: Recorded[] }>('tiny_train.json');

/** Eight groups, as in the recording: two at the base rate, six at ten times that. */
function groups(lr: number) {
  return new AdamW(
    Array.from({ length: 8 }, (_, i) => ({
      params: [[`p${i}`, tensor([0], [1])] as const],
      lr: i < 2 ? lr : 10 * lr,
    })),
  );
}

function expectRates(optimizer: AdamW, expected: number[]): void {
  optimizer.groups.forEach(({ lr }, i) => {
    expect(Math.abs(lr - expected[i]!)).toBeLessThanOrEqual(1e-12 * Math.abs(expected[i]!));
  });
}

test.each(recorded)(
  'LR $LR, $EPOCHS epochs, accumulation $ACCUMULATION_STEPS: every rate as recorded',
  (run) => {
    const optimizer = groups(run.LR);
    const schedule = new CosineSchedule(optimizer, {
      totalSteps: run.t_initial,
      warmupSteps: run.warmup_t,
      minLr: run.lr_min,
    });
    for (const { step_update_arg, lr_used, lr_after } of run.rows) {
      expectRates(optimizer, lr_used);
      schedule.stepUpdate(step_update_arg);
      expectRates(optimizer, lr_after);
    }
  },
);

test('without warm-up the first rate is the full one, and past the end it is the smallest', () => {
  const optimizer = groups(1e-3);
  const schedule = new CosineSchedule(optimizer, { totalSteps: 10, minLr: 1e-5 });
  expect(optimizer.groups[0]!.lr).toBe(1e-3);
  schedule.stepUpdate(5);
  expect(optimizer.groups[0]!.lr).toBeCloseTo((1e-3 + 1e-5) / 2, 12);
  for (const step of [10, 15]) {
    schedule.stepUpdate(step);
    expect(optimizer.groups.map(({ lr }) => lr)).toEqual(Array(8).fill(1e-5));
  }
});

test('a group may have a factor of its own, and one that rises from 0 to 1 over the run', () => {
  const [x, y] = [tensor([0], [1]), tensor([0], [1])];
  const optimizer = new AdamW([
    { params: [['x', x]], lr: 1, lrScale: 0.5 },
    { params: [['y', y]], lr: 1, lrScale: 2, ramp: true },
  ]);
  const rates = () => optimizer.groups.map(({ lr }) => lr);
  const schedule = new CosineSchedule(optimizer, { totalSteps: 8, minLr: 0.25 });
  expect(rates()).toEqual([0.5, 0]);
  schedule.stepUpdate(4);
  expect(rates()).toEqual([0.5, 1].map((scale) => expect.closeTo(scale * 0.625, 12)));
  schedule.stepUpdate(12);
  expect(rates()).toEqual([0.125, 0.5]);
});

test('rejects lengths that make no schedule, and states of another optimizer', () => {
  const optimizer = groups(1);
  expect(() => new CosineSchedule(optimizer, { totalSteps: 0 })).toThrow(
    expect.objectContaining({ code: 'ERR_ARGUMENT' }),
  );
  const schedule = new CosineSchedule(optimizer, { totalSteps: 10 });
  schedule.loadStateDict(schedule.stateDict());
  expect(() => schedule.loadStateDict(new Map([['base_values', [1]]]))).toThrow(
    expect.objectContaining({ code: 'ERR_CHECKPOINT_MISMATCH' }),
  );
});
