import { measure } from '../../lib/engine/measure';
import { memory } from '../../lib/native/device';
import { makeTinyRun, type TinyRun } from '../support/tiny_run';

let tiny: TinyRun;
beforeAll(async () => {
  tiny = await makeTinyRun(1, 1);
});
afterAll(() => tiny.remove());

test('a step of each kind is timed, with what its tensors hold', async () => {
  const before = memory('cpu').liveTensors;
  const stages: string[] = [];
  const costs = async (clips: number, opts: string[] = []) => {
    const aside = ['MODEL.PRETRAINED', 'not_needed.pt'];
    const config = tiny.config(['TRAIN.BATCH_SIZE', String(clips), 'MODEL.DEVICE', 'cpu', ...aside, ...opts]);
    return measure(config, { onStage: (stage) => stages.push(stage) });
  };
  const small = await costs(2);
  const large = await costs(8);
  expect(stages).toHaveLength(6);
  const recomputed = await costs(8, ['TRAIN.USE_CHECKPOINT', 'True']);
  expect(recomputed.training.peakBytes).toBeLessThan(large.training.peakBytes);
  expect(small).toMatchObject({ device: 'cpu', computeDtype: 'float32' });
  expect([small.test.clips, small.training.clips, large.training.clips]).toEqual([1, 2, 8]);
  for (const { seconds } of [small.test, small.training]) expect(seconds).toBeGreaterThan(0);
  // Training keeps gradients and moments, and activations for each clip.
  expect(small.training.peakBytes).toBeGreaterThan(small.test.peakBytes);
  expect(large.training.peakBytes).toBeGreaterThan(small.training.peakBytes);
  expect(large.test.peakBytes).toBe(small.test.peakBytes);
  expect(memory('cpu').liveTensors).toBe(before);
});

test('an abort ends it, and nothing is left', async () => {
  const before = memory('cpu').liveTensors;
  const controller = new AbortController();
  const config = tiny.config(['MODEL.DEVICE', 'cpu']);
  const onStage = (stage: string) => {
    if (stage.startsWith('training')) controller.abort();
  };
  await expect(measure(config, { signal: controller.signal, onStage })).rejects.toMatchObject({
    code: 'ERR_ABORTED',
  });
  expect(memory('cpu').liveTensors).toBe(before);
});
