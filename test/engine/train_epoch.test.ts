import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Batch } from '../../lib/data/batch';
import type { GradientBuckets } from '../../lib/distributed/data_parallel';
import type { ProcessGroup } from '../../lib/distributed/process_group';
import type { EngineEvent, TrainStep } from '../../lib/engine/events';
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

test('a step says what it took, and how long the rest of the epoch will take', async () => {
  // Batches of different sizes, since some videos cannot be read.
  const list = join(tiny.root, 'partly_missing.txt');
  const lines = readFileSync(join(tiny.root, 'train.txt'), 'utf8').split('\n');
  writeFileSync(
    list,
    lines.map((line, i) => (i % 3 ? line : line.replace(/^.+(?= )/, `gone${i}`))).join('\n'),
  );
  const opts = ['DATA.TRAIN_FILE', list, 'DATA.ON_ERROR', 'skip', 'PRINT_FREQ', '2'];
  await withTraining(opts, async (training) => {
    const { loader } = training;
    const batches: Batch[] = [];
    const load = loader.epoch.bind(loader);
    loader.epoch = async function* (...given) {
      for await (const batch of load(...given)) {
        batches.push(batch);
        yield batch;
      }
    };
    const told: TrainStep[] = [];
    const emit = (event: EngineEvent) => {
      if (event.kind !== 'train') return;
      told.push(event);
      expect(event.memory).toBe(native().memory('cpu').peakBytes);
    };
    const { loss } = await trainEpoch({ ...training, emit }, 0, 1);
    expect(loss).toBe(told.at(-1)!.averageLoss);
    expect(told.map(({ step, steps, logged }) => [step, steps, logged])).toEqual([
      [1, 4, false],
      [2, 4, true],
      [3, 4, false],
    ]);
    for (const batch of batches)
      expect(() => batch.frames).toThrow(expect.objectContaining({ code: 'ERR_DISPOSED' }));
    const counts = batches.map(({ labels }) => labels.length);
    expect(new Set(counts).size).toBeGreaterThan(1);
    const sum = (values: number[]) => values.reduce((a, b) => a + b, 0);
    for (const [i, { averageLoss, averageSeconds, eta, dataShare }] of told.entries()) {
      const [until, samples] = [told.slice(0, i + 1), sum(counts.slice(0, i + 1))];
      expect(averageLoss).toBeCloseTo(sum(until.map((step, k) => (step.loss * counts[k]!) / samples)), 6);
      const seconds = sum(until.map((step) => step.seconds));
      expect(averageSeconds).toBeCloseTo(seconds / until.length, 9);
      expect(eta).toBeCloseTo(averageSeconds * (3 - i), 9);
      const waited = sum(batches.slice(0, i + 1).map(({ waitSeconds }) => waitSeconds));
      expect(dataShare).toBeCloseTo(waited / seconds, 9);
    }
  });
});

test('an abort ends it behind the last update, without the gradients since', async () => {
  await withTraining(['TRAIN.ACCUMULATION_STEPS', '2'], async (training) => {
    const controller = new AbortController();
    const { config, dataset, task } = training;
    const loader = trainLoader(config, dataset, 1, controller.signal);
    const emit = (event: EngineEvent) => {
      if (event.kind === 'train' && event.step === 2) controller.abort();
    };
    expect(await trainEpoch({ ...training, loader, emit }, 0)).toMatchObject({ aborted: true, batch: 2 });
    expect(task.model.parameters().filter(({ grad }) => grad)).toEqual([]);
  });
});

test('a process draws its own stochastic depth, and sends gradients with the last micro-batch of an update', async () => {
  const opts = ['TRAIN.ACCUMULATION_STEPS', '2', 'TRAIN.USE_CHECKPOINT', 'True'];
  await withTraining(opts, async (training) => {
    const { task } = training;
    const draws: number[] = [];
    const forward = task.forward.bind(task);
    task.forward = (frames, mode) => {
      draws.push(mode.step);
      expect(mode).toMatchObject({ training: true, seed: 1, checkpoint: true });
      return forward(frames, mode);
    };
    const sent = new Set<number>();
    const buckets = { finished: () => sent.add(draws.length), finish: async () => {} } as unknown;
    const group = { rank: 1, worldSize: 3 } as ProcessGroup;
    await trainEpoch({ ...training, group, buckets: buckets as GradientBuckets }, 1);
    expect(draws).toEqual([4, 5, 6, 7].map((step) => 3 * step + 1));
    expect([...sent]).toEqual([2, 4]);
  });
});

test('accumulated micro-batches have the gradient and the loss of one large batch', async () => {
  const opts = ['AUG.MIXUP', '0', 'AUG.CUTMIX', '0', 'MODEL.DROP_PATH_RATE', '0', 'AUG.LABEL_SMOOTH', '0'];
  const gradients: Float32Array[] = [];
  const losses: number[] = [];
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
      let loss = 0;
      const emit = (event: EngineEvent) => {
        if (event.kind === 'train') loss += event.loss;
      };
      await trainEpoch({ ...training, emit }, 0);
      losses.push(loss);
      gradients.push((await parameter.grad!.data()) as Float32Array);
      drop();
    });
  }
  const [whole, parts] = gradients as [Float32Array, Float32Array];
  const largest = Math.max(...whole.map(Math.abs));
  expect(largest).toBeGreaterThan(0);
  expect(Math.max(...whole.map((x, i) => Math.abs(x - parts[i]!)))).toBeLessThan(1e-5 * largest);
  expect(losses[1]).toBeCloseTo(losses[0]!, 5);
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
  expect(overflowing.warnings[0]).toBe(
    `gradients overflowed float16: an update was left out, the loss scale is now ${2 ** 126}`,
  );
  expect(overflowing.values.at(-1)).not.toBe(plain.values.at(-1));
});
