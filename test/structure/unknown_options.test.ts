import { join } from 'node:path';
import * as lib from '../../lib';
import { VideoWriter } from '../../lib/data/video_writer';
import { fixturePath } from '../support/fixture';
import { TINY } from '../support/tiny_geometry';

// JavaScript leaves out an option that nobody has: a mistyped one would be as if it had not been given.
const { nn, optim, tensor } = lib;
const init = new nn.Initializer({ device: 'cpu' });
const parameter = () => tensor([1], [1], { requiresGrad: true });
const clip = fixturePath('video/h264_b_frames.mp4');
const model = new lib.XCLIP(TINY, { device: 'cpu' });
const group = () => ({ params: [['w', parameter()] as const], lr: 0.1 });
const optimizer = () => new optim.AdamW([group()]);

/** A call with one mistyped option, and what it should have been. */
const calls: [string, string, (options: never) => unknown][] = [
  ['dtipe', 'dtype', (options) => tensor([1], [1], options)],
  ['requireGrad', 'requiresGrad', (options) => lib.zeros([1], options)],
  ['dtypes', 'dtype', (options) => lib.arange(0, 2, options)],
  [
    'labelsmoothing',
    'labelSmoothing',
    (options) => lib.crossEntropy(tensor([[1, 2]]), tensor(Int32Array.of(0)), options),
  ],
  ['biases', 'bias', (options) => new nn.Linear(1, 1, init, options)],
  ['sead', 'seed', (options) => new nn.Initializer(options)],
  ['stric', 'strict', (options) => new nn.Linear(1, 1, init).loadStateDict(new Map(), options)],
  ['beta', 'betas', (options) => new optim.AdamW([group()], options)],
  ['weight_decay', 'weightDecay', (options) => new optim.AdamW([{ ...group(), ...(options as object) }])],
  [
    'minLR',
    'minLr',
    (options) => new optim.CosineSchedule(optimizer(), { totalSteps: 2, ...(options as object) }),
  ],
  ['growthIntervall', 'growthInterval', (options) => new optim.LossScaler(options)],
  ['dropPathrate', 'dropPathRate', (options) => new lib.XCLIP(TINY, options)],
  ['dtipe', 'dtype', (options) => lib.XCLIP.load('none.pth', options)],
  ['topk', 'topK', (options) => model.classify(clip, ['a'], options)],
  ['crop', 'crops', (options) => model.embedVideo(clip, options)],
  [
    'strides',
    'stride',
    (options) => model.timeline(clip, ['a'], { window: 1, ...(options as object) }).next(),
  ],
  [
    'qualtiy',
    'quality',
    (options) =>
      VideoWriter.open(join(__dirname, 'none.mp4'), { width: 2, height: 2, fps: 1, ...(options as object) }),
  ],
];

test.each(calls)('"%s" is refused where %s is meant: %s', async (mistyped, meant, call) => {
  const error = await (async () => call({ [mistyped]: 1 } as never))().then(
    () => undefined,
    (refusal: unknown) => refusal,
  );
  const message = expect.stringContaining(`there is no option "${mistyped}"; did you mean ${meant}?`);
  expect(error).toMatchObject({ code: 'ERR_ARGUMENT', message });
});
