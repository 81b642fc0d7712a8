import { oncePerVideo } from '../../lib/engine/bad_samples';
import { logLines, type TrainStep } from '../../lib/engine/events';

const step: TrainStep = {
  kind: 'train',
  epoch: 2,
  epochs: 30,
  step: 50,
  steps: 940,
  loss: 3.20014,
  averageLoss: 3.3,
  lr: 8e-6,
  seconds: 0.12344,
  averageSeconds: 0.2,
  dataShare: 0.0125,
  eta: 178,
  memory: 1234 * 2 ** 20,
  logged: true,
};

test('a training line has the fields of the reference, tab separated, and our share of waiting', () => {
  expect(logLines(step)).toEqual([
    'Train: [2/30][50/940]\teta 0:02:58 lr 0.000008000\ttime 0.1234 (0.2000)\ttot_loss 3.2001 (3.3000)\tmem 1234MB\tdata 1.3%',
  ]);
  expect(logLines({ ...step, logged: false })).toEqual([]);
});

test('an accuracy has the lines of the reference, and says what could not be read', () => {
  const end = { kind: 'accuracy', epoch: 0, clips: 4, crops: 3, top1: 81.25, top5: 100, videos: 16 } as const;
  expect(logLines({ ...end, failed: 0, best: 90 })).toEqual([
    ' * Acc@1 81.250 Acc@5 100.000',
    'Accuracy of the network on the 16 test videos: 81.3%',
    'Max accuracy: 90.00%',
  ]);
  expect(logLines({ ...end, failed: 2, best: null }).at(-1)).toMatch(/^warning: 2 more test videos/);
});

test('a long listing of an archive has a line when it begins, short ones have none', () => {
  const listing = { kind: 'listing', archive: 'k400.tar', done: 0 } as const;
  expect(logLines({ ...listing, total: 1e11 })).toEqual(['listing the 100 GB of k400.tar, once']);
  expect(logLines({ ...listing, done: 512, total: 1e11 })).toEqual([]);
  expect(logLines({ ...listing, total: 1e9 })).toEqual([]);
});

test('an epoch says how many samples were bad, when some were', () => {
  const end = { kind: 'epoch', epoch: 3, seconds: 61, loss: 1 } as const;
  expect(logLines({ ...end, failed: 0, damaged: 0 })).toEqual(['EPOCH 3 training takes 0:01:01']);
  expect(logLines({ ...end, failed: 2, damaged: 1 })[1]).toBe(
    'EPOCH 3 samples that could not be loaded: 2, with damaged frames: 1',
  );
});

test('each bad video is named once, whatever else happens to it', () => {
  const seen: string[] = [];
  const listener = oncePerVideo((event) => seen.push(event.kind));
  const sample = { epoch: 0, index: 3, path: '/v/a.mp4', where: 'train.txt:4', code: 'X', reason: 'r' };
  for (const epoch of [0, 1]) {
    listener({ kind: 'damage', ...sample, epoch });
    listener({ kind: 'failure', ...sample, epoch });
    listener({ kind: 'damage', ...sample, epoch, path: '/v/b.mp4' });
    listener({ kind: 'message', text: 'm' });
  }
  expect(seen).toEqual(['damage', 'failure', 'damage', 'message', 'message']);
});

test('a failed video is named with its line of the list', () => {
  const failure = { epoch: 0, index: 3, path: '/v/a.mp4', where: 'train.txt:4', code: 'ERR_VIDEO_DECODE' };
  expect(logLines({ kind: 'failure', ...failure, reason: 'frame 3 is damaged' })).toEqual([
    'warning ERR_VIDEO_DECODE: train.txt:4: /v/a.mp4: frame 3 is damaged',
  ]);
  expect(logLines({ kind: 'failure', ...failure, reason: '/v/a.mp4: the file is empty' })).toEqual([
    'warning ERR_VIDEO_DECODE: train.txt:4: /v/a.mp4: the file is empty',
  ]);
});
