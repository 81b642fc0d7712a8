import { createHash } from 'node:crypto';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { CodedError } from '../../lib/base/error';
import { type EngineEvent, logLines, type TrainStep } from '../../lib/engine/events';
import { RecordedSteps } from '../../lib/engine/recorded_steps';
import { datasetOf, trainLoader } from '../../lib/engine/setup';
import { trainEpoch } from '../../lib/engine/train_epoch';
import type { Training } from '../../lib/engine/train_step';
import { RawTensor } from '../../lib/io';
import { createTask } from '../../lib/models';
import * as device from '../../lib/native/device';
import { defaultDevice, memory } from '../../lib/native/device';
import { mul } from '../../lib/ops';
import { AdamW, CosineSchedule, LossScaler } from '../../lib/optim';
import { keep, scope } from '../../lib/tensor/scope';
import { tensor } from '../../lib/tensor/tensor';
import { makeTinyRun, type TinyRun } from '../support/tiny_run';

// On a CUDA device; the project "cpu" has nothing to record.
const onCuda = () => defaultDevice() === 'cuda';
let tiny: TinyRun;
beforeAll(async () => {
  tiny = await makeTinyRun();
});
afterAll(() => tiny.remove());

interface Learnt {
  steps: Omit<TrainStep, 'seconds' | 'averageSeconds' | 'dataShare' | 'eta' | 'memory'>[];
  messages: string[];
  /** A digest of the bits of each parameter and of its moments, by name. */
  parameters: Record<string, string>;
}

/** A training with the options, recorded or not, as far as `drive` takes it, and all that can be seen of it. */
async function learn(
  opts: string[],
  recorded: boolean,
  drive: (training: Training) => Promise<unknown>,
  { scale = 65536, run = tiny } = {},
): Promise<Learnt> {
  const config = run.config(['MODEL.DROP_PATH_RATE', '0.5', ...opts]);
  const task = await createTask(config, run.names);
  const dataset = await datasetOf(config, 'TRAIN_FILE');
  const optimizer = new AdamW(task.parameterGroups(config), { betas: config.TRAIN.BETAS });
  const steps: Learnt['steps'] = [];
  const messages: string[] = [];
  const training: Training = {
    config,
    task,
    dataset,
    loader: trainLoader(config, dataset, 1),
    optimizer,
    schedule: new CosineSchedule(optimizer, { totalSteps: 20, warmupSteps: 3 }),
    device: defaultDevice(),
    scaler: task.computeDtype === 'float16' ? new LossScaler({ scale, growthInterval: 3 }) : null,
    seed: 1,
    emit: (event: EngineEvent) => {
      if (event.kind === 'message') messages.push(...logLines(event));
      if (event.kind !== 'train') return;
      const { seconds, averageSeconds, dataShare, eta, memory: _, ...numbers } = event;
      steps.push(numbers);
    },
    recorded: recorded ? new RecordedSteps() : null,
    group: null,
    buckets: null,
    agree: async () => {},
  };
  try {
    await drive(training);
    const parameters: Learnt['parameters'] = {};
    const digest = (data: NodeJS.TypedArray) => createHash('sha256').update(data).digest('hex');
    for (const [name, parameter] of task.model.namedParameters()) {
      parameters[name] = digest(await parameter.data());
    }
    const state = (await optimizer.stateDict()).get('state') as Map<number, Map<string, RawTensor>>;
    for (const [number, moments] of state) {
      for (const [name, moment] of moments) {
        if (moment instanceof RawTensor) parameters[`${number} ${name}`] = digest(await moment.data());
      }
    }
    return { steps, messages, parameters };
  } finally {
    training.recorded?.dispose();
    training.scaler?.dispose();
    optimizer.dispose();
    task.dispose();
  }
}

const epochs = (count: number) => async (training: Training) => {
  for (let epoch = 0; epoch < count; epoch++) await trainEpoch(training, epoch);
};
const announcement = /^from here on, steps of 2 videos are CUDA graphs/;

test.each([
  { name: 'float32, gradients of three micro-batches', opts: ['TRAIN.ACCUMULATION_STEPS', '3'], count: 4 },
  { name: 'bfloat16, gradient clipping', opts: ['TRAIN.OPT_LEVEL', 'O1', 'TRAIN.CLIP_GRAD', '1'], count: 2 },
  {
    name: 'float16, a loss scale that overflows, labels instead of soft targets',
    opts: ['TRAIN.OPT_LEVEL', 'O1', 'TRAIN.AMP_DTYPE', 'float16', 'AUG.MIXUP', '0'],
    count: 3,
    scale: 2 ** 24,
  },
])('recorded steps learn bit for bit what the others learn: $name', async ({ opts, count, scale }) => {
  if (!onCuda()) return;
  const plain = await learn(opts, false, epochs(count), { scale });
  const before = memory().liveTensors;
  const recorded = await learn(opts, true, epochs(count), { scale });
  expect(memory().liveTensors).toBe(before);
  expect(recorded.messages.filter((text) => announcement.test(text))).toHaveLength(1);
  expect(recorded.messages.filter((text) => !announcement.test(text))).toEqual(plain.messages);
  if (scale) expect(plain.messages.length).toBeGreaterThan(4); // past the two updates before the recording
  expect(recorded.steps).toEqual(plain.steps);
  expect(recorded.parameters).toEqual(plain.parameters);
});

test('a batch that is short for a bad video runs as it is, within a recorded group or before one', async () => {
  if (!onCuda()) return;
  const damaged = await makeTinyRun();
  const files = readFileSync(join(damaged.root, 'train.txt'), 'utf8').split(/ \d\n/);
  for (const bad of files.slice(0, 2)) writeFileSync(join(damaged.root, 'videos', bad), 'no video');
  const opts = ['TRAIN.ACCUMULATION_STEPS', '2', 'DATA.ON_ERROR', 'skip'];
  try {
    const plain = await learn(opts, false, epochs(4), { run: damaged });
    const recorded = await learn(opts, true, epochs(4), { run: damaged });
    expect(recorded.steps).toEqual(plain.steps);
    expect(recorded.parameters).toEqual(plain.parameters);
    expect(recorded.messages).toEqual([expect.stringMatching(announcement)]);
  } finally {
    damaged.remove();
  }
});

test('an abort ends recorded steps at an update; going on from there differs in nothing', async () => {
  if (!onCuda()) return;
  const opts = ['TRAIN.ACCUMULATION_STEPS', '2'];
  const whole = await learn(opts, true, epochs(3));
  const stopped = await learn(opts, true, async (training) => {
    await epochs(2)(training);
    const { config, dataset, emit, loader } = training;
    const abort = new AbortController();
    training.loader = trainLoader(config, dataset, 1, abort.signal);
    training.emit = (event) => {
      // The second micro-batch of the first update is queued behind this one, but not the whole epoch.
      if (event.kind === 'train') abort.abort();
      else emit(event);
    };
    const progress = await trainEpoch(training, 2);
    expect(progress).toMatchObject({ aborted: true, batch: 2 });
    Object.assign(training, { loader, emit });
    await trainEpoch(training, 2, progress.batch);
  });
  expect(stopped.parameters).toEqual(whole.parameters);
});

test('a loss that is no number ends the run, and no update of it or behind it is made', async () => {
  if (!onCuda()) return;
  const spoilt = (recorded: boolean) =>
    learn([], recorded, async (training) => {
      const factor = keep(tensor([1], []));
      const { task, emit } = training;
      const loss = task.loss.bind(task);
      task.loss = (...given) => mul(loss(...given), factor);
      // Micro-batch 6 of all and no other is spoilt; a recorded one is queued before the one in front is told of.
      const before = recorded ? 4 : 5;
      let told = 0;
      training.emit = (event) => {
        emit(event);
        if (event.kind !== 'train') return;
        scope(() => factor.assign(tensor([told === before ? Number.NaN : 1], [])));
        told++;
      };
      const failure = epochs(3)(training);
      await expect(failure).rejects.toMatchObject({
        code: 'ERR_NOT_FINITE',
        message: expect.stringMatching(/the loss is NaN at epoch 1, step 2; the parameters were left/),
      });
      factor.dispose();
    });
  const plain = await spoilt(false);
  expect((await spoilt(true)).parameters).toEqual(plain.parameters);
});

test('a step that cannot be recorded is said aloud and goes on as it is; other errors are not hidden', async () => {
  if (!onCuda()) return;
  const refusing = (error: Error) => async (training: Training) => {
    const { optimizer } = training;
    const apply = optimizer.apply.bind(optimizer);
    let calls = 0;
    optimizer.apply = (options) => {
      if (++calls === 3) throw error; // two updates run before the recording
      apply(options);
    };
    await epochs(2)(training);
  };
  const plain = await learn([], false, epochs(2));
  const full = new CodedError('ERR_OUT_OF_MEMORY', 'the device is full');
  const refused = await learn([], true, refusing(full));
  expect(refused.messages).toEqual([
    'warning CUDA_GRAPH_REFUSED: training goes on without CUDA graphs, because the step could not be recorded: the device is full',
  ]);
  expect(refused.steps).toEqual(plain.steps);
  expect(refused.parameters).toEqual(plain.parameters);
  await expect(learn([], true, refusing(new Error('a mistake')))).rejects.toThrow('a mistake');
});

describe('work beside recorded steps that runs out of memory', () => {
  const full = (): never => {
    throw new CodedError('ERR_OUT_OF_MEMORY', 'the device is full');
  };
  const opts = ['TRAIN.ACCUMULATION_STEPS', '2', 'DATA.ON_ERROR', 'skip', 'TRAIN.OPT_LEVEL', 'O1'];
  const float16 = ['TRAIN.AMP_DTYPE', 'float16'];
  let damaged: TinyRun;
  let plain: Learnt;
  beforeAll(async () => {
    if (!onCuda()) return;
    damaged = await makeTinyRun();
    const files = readFileSync(join(damaged.root, 'train.txt'), 'utf8').split(/ \d\n/);
    writeFileSync(join(damaged.root, 'videos', files[0]!), 'no video');
    plain = await learn([...opts, ...float16], false, epochs(3), { run: damaged });
  });
  afterAll(() => damaged?.remove());

  test.each<[string, (training: Training) => void]>([
    [
      'at once, in the forward pass',
      (training) => {
        const { task } = training;
        const loss = task.loss.bind(task);
        task.loss = (...given) => (training.recorded!.holdsMemory ? full() : loss(...given));
      },
    ],
    [
      'within a kernel, which the next wait is told',
      ({ recorded }) => {
        const wait = jest.spyOn(device, 'synchronize');
        const record = Reflect.get(recorded!, 'record').bind(recorded);
        Reflect.set(recorded!, 'record', async (...given: unknown[]) => {
          await record(...given);
          wait.mockImplementationOnce(async () => full());
        });
      },
    ],
    [
      'when a batch comes for a group that was begun',
      ({ recorded }) => {
        const load = recorded!.load.bind(recorded);
        recorded!.load = (training, batch, place) =>
          batch.index > place.first ? full() : load(training, batch, place);
      },
    ],
  ])('%s: they are given up, and nothing differs from a run without them', async (_, plant) => {
    if (!onCuda()) return;
    const drive = async (training: Training) => {
      plant(training);
      await epochs(3)(training);
      expect(training.recorded!.holdsMemory).toBe(false);
    };
    const recorded = await learn([...opts, ...float16], true, drive, { run: damaged });
    jest.restoreAllMocks();
    expect(recorded.messages).toEqual([
      expect.stringMatching(announcement),
      expect.stringMatching(/^warning CUDA_GRAPH_GIVEN_UP: the rest of the run .*: the device is full$/),
    ]);
    expect(recorded.steps).toEqual(plain.steps);
    expect(recorded.parameters).toEqual(plain.parameters);
  });

  test('other errors, and those without recordings, are not hidden', async () => {
    if (!onCuda()) return;
    const failing = (error: Error, when: (training: Training) => boolean) => (training: Training) => {
      const { task } = training;
      const loss = task.loss.bind(task);
      task.loss = (...given) => {
        if (when(training)) throw error;
        return loss(...given);
      };
      return epochs(3)(training);
    };
    const mistake = failing(new Error('a mistake'), ({ recorded }) => recorded!.holdsMemory);
    await expect(learn(opts, true, mistake, { run: damaged })).rejects.toThrow('a mistake');
    const tooLarge = failing(new CodedError('ERR_OUT_OF_MEMORY', 'too large'), () => true);
    await expect(learn(opts, true, tooLarge, { run: damaged })).rejects.toThrow('too large');
  });
});
