import { join } from 'node:path';
import * as lib from '../../lib';
import { VideoDataset } from '../../lib/data/video_dataset';
import { VideoWriter } from '../../lib/data/video_writer';
import { fixturePath } from '../support/fixture';
import { TINY } from '../support/tiny_geometry';
import { sources } from './sources';

// JavaScript leaves out an option that nobody has: a mistyped one would be as if it had not been given.
const { data, distributed, engine, io, nn, optim, tensor } = lib;
const init = new nn.Initializer({ device: 'cpu' });
const parameter = () => tensor([1], [1], { requiresGrad: true });
const clip = fixturePath('video/h264_b_frames.mp4');
const model = new lib.XCLIP(TINY, { device: 'cpu' });
const group = () => ({ params: [['w', parameter()] as const], lr: 0.1 });
const optimizer = () => new optim.AdamW([group()]);
const empty = new VideoDataset([]);
const config = lib.config.loadConfig();
const views = { numFrames: 2, inputSize: 32, numClips: 1, numCrops: 1 } as const;
const clips = { numFrames: 2, inputSize: 32, shift: 0, flip: 0, colorJitter: 0, grayScale: 0 };
const mix = { numClasses: 2, smoothing: 0, mixup: 1, cutmix: 0, switchProbability: 0 };
const loading = {
  dataset: empty,
  planner: data.testPlanner(views),
  batchSize: 1,
  seed: 0,
  training: false,
  onError: 'fail',
} as const;
const [x, w] = [tensor([[1, 2]]), tensor([[1, 2]])];
const sequence = tensor([[[1, 0]]]);
const also = <T extends object>(right: T, options: object) => ({ ...right, ...options });

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
  ['head', 'heads', (options) => lib.attention(sequence, sequence, sequence, options)],
  ['querys', 'queries', (options) => lib.selfAttention(tensor([[[1, 1, 1]]]), also({ heads: 1 }, options))],
  ['transposeb', 'transposeB', (options) => lib.matmul(x, w, options)],
  ['activations', 'activation', (options) => lib.linear(x, w, null, options)],
  ['residuals', 'residual', (options) => lib.mlp(x, { weight: w }, { weight: tensor([[1]]) }, options)],
  ['epss', 'eps', (options) => lib.layerNorm(x, tensor([1, 1]), tensor([0, 0]), options)],
  ['ep', 'eps', (options) => lib.l2Normalize(x, options)],
  ['hihg', 'high', (options) => lib.randomUniform([1], also({ seed: 1 }, options))],
  ['sdt', 'std', (options) => lib.randomNormal([1], also({ seed: 1 }, options))],
  ['hihg', 'high', (options) => lib.randomTruncatedNormal([1], also({ seed: 1, low: 0, high: 1 }, options))],
  [
    'sample',
    'samples',
    (options) => lib.dropPath(x, also({ rate: 0, seed: 1, stream: 0, samples: 1 }, options)),
  ],
  ['devices', 'device', (options) => lib.captureGraph(() => x, options)],
  ['wehn', 'when', (options) => optimizer().step(options)],
  ['casual', 'causal', (options) => new nn.MultiheadAttention(2, 1, init).forward(sequence, options)],
  ['casual', 'causal', (options) => new nn.ResidualAttentionBlock(2, 1, init).forward(sequence, options)],
  ['trainning', 'training', (options) => model.forward(x, x, also(nn.evaluation, options))],
  ['steps', 'step', (options) => model.outputs(x, null, [], also(nn.evaluation, options))],
  ['steps', 'step', (options) => model.encodeVideo(x, also(nn.evaluation, options))],
  ['sead', 'seed', (options) => model.encodeText(x, also(nn.evaluation, options))],
  ['traces', 'trace', (options) => model.score({ video: x, patches: x }, x, also(nn.evaluation, options))],
  ['batchsize', 'batchSize', (options) => new data.VideoLoader(also(loading, options))],
  ['smooting', 'smoothing', (options) => new data.VideoLoader({ ...loading, mix: also(mix, options) })],
  [
    'numClass',
    'numClasses',
    (options) =>
      new data.VideoLoader({ ...loading, multiLabel: also({ numClasses: 2, smoothing: 0 }, options) }),
  ],
  ['startbatch', 'startBatch', (options) => new data.VideoLoader(loading).epoch(0, options).next()],
  ['cutmx', 'cutmix', (options) => data.drawMix(also(mix, options), 1, 1, 1, undefined as never)],
  ['colourJitter', 'colorJitter', (options) => data.trainPlanner(also(clips, options))],
  ['numCrop', 'numCrops', (options) => data.testPlanner(also(views, options))],
  [
    'greyScale',
    'grayScale',
    (options) => data.trainPlan(undefined as never, also(clips, options), undefined as never),
  ],
  [
    'numClip',
    'numClips',
    (options) => data.testPlan(undefined as never, also(views, options), undefined as never),
  ],
  ['shardBits', 'shardBytes', (options) => data.packDataset(empty, also({ output: 'x.tar' }, options))],
  [
    'journals',
    'journal',
    (options) => data.verifyDataset(empty, also({ journal: '', subject: '' }, options)),
  ],
  ['listname', 'listName', (options) => data.cacheDataset(empty, options)],
  [
    'shortside',
    'shortSide',
    (options) =>
      data.cacheDataset(empty, {
        output: 'x',
        listName: 'y',
        settings: also({ shortSide: 2, gop: 1, quality: 1 }, options),
      }),
  ],
  ['numclasses', 'numClasses', (options) => VideoDataset.fromList('none.txt', options)],
  ['signals', 'signal', (options) => data.openStore('none', options)],
  ['zeroshotClasses', 'zeroShotClasses', (options) => data.prepareDataset(options)],
  ['framecount', 'frameCount', (options) => data.writeSyntheticDataset('none', options)],
  ['thread', 'threads', (options) => lib.run(config, options)],
  ['printFrequence', 'printFrequency', (options) => engine.evaluate(options)],
  ['onstage', 'onStage', (options) => engine.measure(config, options)],
  ['devise', 'device', (options) => lib.createTask(config, ['a'], options)],
  ['signals', 'signal', (options) => lib.loadPretrained(model, 'none', options)],
  ['proceses', 'processes', (options) => distributed.launch(options)],
  ['timeout', 'timeoutMs', (options) => distributed.ProcessGroup.join(null, options)],
  ['onprogress', 'onProgress', (options) => io.writeAtomically('none', 0, async () => {}, options)],
  ['signals', 'signal', (options) => io.writeTorch('none', {}, options)],
  ['signals', 'signal', (options) => io.writeSafetensors('none', new Map(), new Map(), options)],
  ['cgf', 'cfg', (options) => lib.config.loadConfig(options)],
  ['batchsize', 'batchSize', (options) => lib.config.loadConfig({ flags: options })],
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
  ['topk', 'topK', (options) => model.classifyEach([clip], ['a'], options).next()],
  ['clip', 'clips', (options) => model.loadFrames(clip, options)],
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

// `controller` where `controller.signal` is meant: nothing would ever stop.
const stoppable: [string, (options: never) => unknown][] = [
  ['XCLIP.load', (options) => lib.XCLIP.load('none.pth', options)],
  ['classify', (options) => model.classify(clip, ['a'], options)],
  ['VideoReader.open', (options) => lib.VideoReader.open(clip, options)],
  ['VideoLoader', (options) => new data.VideoLoader(also(loading, options))],
  [
    'FrameLoader.open',
    (options) => data.FrameLoader.open([], also({ batchSize: 1, width: 1, height: 1 }, options)),
  ],
  ['packDataset', (options) => data.packDataset(empty, also({ output: 'x.tar' }, options))],
  ['run', (options) => lib.run(config, options)],
  ['measure', (options) => engine.measure(config, options)],
  ['writeTorch', (options) => io.writeTorch('none', {}, options)],
];

test.each(stoppable)('%s refuses a controller in the place of a signal', async (name, call) => {
  const stopped = (async () => call({ signal: new AbortController() } as never))();
  await expect(stopped).rejects.toMatchObject({
    code: 'ERR_ARGUMENT',
    message: `${name}: signal must be an AbortSignal, as that of an AbortController, got an object (AbortController)`,
  });
});

test('options of every public function are looked at', () => {
  // Of what the library calls itself alone.
  const internal = ['CrossFrame', 'Draw', 'Draw', 'SampleLoader', 'Show', 'StepGraph'].map(
    (stem) => `${stem}Options`,
  );
  const text = sources(['lib'], ['.ts'])
    .map((source) => source.text)
    .join('\n');
  const declared = [...text.matchAll(/export interface (\w+Options)\b/g)].map(([, name]) => name!);
  expect(declared.length).toBeGreaterThan(30);
  const unseen = declared.filter((name) => !new RegExp(`KnownOptions<(\\w+ & )?${name}\\b`).test(text));
  expect(unseen.sort()).toEqual(internal);
});
