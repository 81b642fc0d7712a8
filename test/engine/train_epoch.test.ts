import type { EngineEvent } from '../../lib/engine/events';
import { datasetOf, trainLoader } from '../../lib/engine/setup';
import { trainEpoch } from '../../lib/engine/train_epoch';
import type { Training } from '../../lib/engine/train_step';
import { createTask } from '../../lib/models';
import { native } from '../../lib/native/load';
import { AdamW } from '../../lib/optim/adamw';
import { LossScaler } from '../../lib/optim/loss_scale';
import { CosineSchedule } from '../../lib/optim/schedule';
import { makeTinyRun, type TinyRun } from '../support/tiny_run';

let tiny: TinyRun;
beforeAll(async () => {
  tiny = await makeTinyRun();
  native().setThreads(1);
});
afterAll(() => tiny.remove());

async function withTraining(opts: string[], use: (training: Training) => Promise<void>): Promise<void> {
  const config = tiny.config(opts);
  const task = await createTask(config, tiny.names);
  const dataset = await datasetOf(config, 'TRAIN_FILE');
  const loader = trainLoader(config, dataset, 1);
  const optimizer = new AdamW(task.parameterGroups(config), { betas: config.TRAIN.BETAS });
  const schedule = new CosineSchedule(optimizer, { totalSteps: 1000, warmupSteps: 100 });
  await use({
    config,
    task,
    dataset,
    loader,
    optimizer,
    schedule,
    device: 'cpu',
    scaler: null,
    seed: 1,
    emit: () => {},
    recorded: null,
    group: null,
    buckets: null,
    agree: async () => {},
  });
  optimizer.dispose();
  task.dispose();
}

test('120 steps hold memory flat, and everything is released at the end', async () => {
  const before = native().memory('cpu').liveTensors;
  for (const opts of [
    [],
    ['TRAIN.CLIP_GRAD', '1', 'TRAIN.USE_CHECKPOINT', 'True', 'TRAIN.OPT_LEVEL', 'O1'],
  ]) {
    await withTraining(opts, async (training) => {
      await trainEpoch(training, 0);
      const { liveBytes, liveTensors } = native().memory('cpu');
      for (let epoch = 1; epoch <= 15; epoch++) await trainEpoch(training, epoch);
      expect(native().memory('cpu')).toMatchObject({ liveBytes, liveTensors });
    });
    expect(native().memory('cpu').liveTensors).toBe(before);
  }
});

test('the schedule is told of updates only, with the number of the micro-batch that made them', async () => {
  await withTraining(['TRAIN.ACCUMULATION_STEPS', '3'], async (training) => {
    const told: number[] = [];
    const real = training.schedule.stepUpdate.bind(training.schedule);
    training.schedule.stepUpdate = (step) => {
      told.push(step);
      real(step);
    };
    const rates: number[] = [];
    const emit = (event: EngineEvent) => {
      if (event.kind === 'train') rates.push(event.lr);
    };
    await trainEpoch({ ...training, emit }, 2);
    // Four micro-batches: an update after three of them, and one for the fourth, which is left over.
    expect(told).toEqual([10, 11]);
    expect(rates).toEqual([0, 0, 1e-4, 1.1e-4].map((rate) => expect.closeTo(rate, 12)));
  });
});

test('accumulated micro-batches have the gradient of one large batch', async () => {
  const opts = ['AUG.MIXUP', '0', 'AUG.CUTMIX', '0', 'MODEL.DROP_PATH_RATE', '0', 'AUG.LABEL_SMOOTH', '0'];
  const gradients: Float32Array[] = [];
  for (const sizes of [
    ['TRAIN.BATCH_SIZE', '8'],
    ['TRAIN.BATCH_SIZE', '2', 'TRAIN.ACCUMULATION_STEPS', '4'],
  ]) {
    await withTraining([...opts, ...sizes], async (training) => {
      const { optimizer } = training;
      const parameter = training.task.parameterGroups(training.config)[0]!.params[0]!.tensor;
      optimizer.step = () => {};
      const drop = optimizer.zeroGrad.bind(optimizer);
      optimizer.zeroGrad = () => {};
      await trainEpoch(training, 0);
      gradients.push((await parameter.grad!.data()) as Float32Array);
      drop();
    });
  }
  const [whole, parts] = gradients as [Float32Array, Float32Array];
  const largest = Math.max(...whole.map(Math.abs));
  expect(largest).toBeGreaterThan(0);
  expect(Math.max(...whole.map((x, i) => Math.abs(x - parts[i]!)))).toBeLessThan(1e-5 * largest);
});

test('a scaled loss learns the same, and an update that overflows is left out', async () => {
  const losses = async (make: () => LossScaler | null) => {
    const values: number[] = [];
    const warnings: string[] = [];
    await withTraining([], async (training) => {
      const emit = (event: EngineEvent) => {
        if (event.kind === 'train') values.push(event.loss);
        if (event.kind === 'message') warnings.push(event.text);
      };
      const scaled = { ...training, scaler: make(), emit };
      for (let epoch = 20; epoch < 23; epoch++) await trainEpoch(scaled, epoch);
      scaled.scaler?.dispose();
    });
    return { values, warnings };
  };
  const plain = await losses(() => null);
  const scaled = await losses(() => new LossScaler({ device: 'cpu' }));
  // A power of two changes no digit.
  expect(scaled).toEqual(plain);
  const overflowing = await losses(() => new LossScaler({ scale: 2 ** 127, device: 'cpu' }));
  expect(overflowing.warnings[0]).toMatch(/overflowed float16: an update was left out/);
  expect(overflowing.values.at(-1)).not.toBe(plain.values.at(-1));
});
