import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { readViews } from '../../../lib/models/xclip/video_input';
import type { XCLIP } from '../../../lib/models/xclip/xclip';
import { memory } from '../../../lib/native/device';
import { zeros } from '../../../lib/ops';
import { tensor } from '../../../lib/tensor/tensor';
import { fixturePath } from '../../support/fixture';
import { loadTiny, tinyFrames, tinyTokens } from '../../support/tiny_model';
import { temporaryFolder } from '../../support/video';

const folder = temporaryFolder();

let model: XCLIP;
beforeAll(async () => {
  model = await loadTiny();
});
afterAll(() => model.dispose());

const cpu = { device: 'auto' } as const;

test.each([
  [[1, 8, 3, 32, 32], 'ERR_FRAME_COUNT', /clips of 4 frames, got 8/],
  [[4, 3, 32, 32], 'ERR_SHAPE', /\[B, 4, 3, 32, 32\], got float32\[4, 3, 32, 32\]/],
  [[1, 4, 3, 64, 32], 'ERR_SHAPE', /got float32\[1, 4, 3, 64, 32\]/],
  [[1, 4, 1, 32, 32], 'ERR_SHAPE', /got float32\[1, 4, 1, 32, 32\]/],
])('frames of shape [%s] are refused before any work', (shape, code, message) => {
  const frames = zeros(shape, cpu);
  const before = memory().liveTensors;
  expect(() => model.forward(frames, tinyTokens())).toThrow(expect.objectContaining({ code }));
  expect(() => model.forward(frames, tinyTokens())).toThrow(message);
  expect(memory().liveTensors).toBe(before);
  frames.dispose();
});

test('tokens that are no table of texts are refused', () => {
  const bad = (ids: number[], shape: [number, number]) => () =>
    model.encodeText({ ids: Int32Array.from(ids), shape });
  expect(bad([], [0, 77])).toThrow(expect.objectContaining({ code: 'ERR_SHAPE' }));
  expect(bad([1, 2, 3], [1, 2])).toThrow(expect.objectContaining({ code: 'ERR_SHAPE' }));
  expect(bad(new Array(78).fill(1), [1, 78])).toThrow(expect.objectContaining({ code: 'ERR_TEXT_TOO_LONG' }));
  const flat = tensor(new Int32Array(77), [77], cpu);
  expect(() => model.encodeText(flat)).toThrow(/int32\[77\]/);
  flat.dispose();
});

test('a token outside the vocabulary is named when the features are read', async () => {
  const tokens = tinyTokens();
  tokens.ids[1] = 600;
  const features = model.encodeText(tokens);
  await expect(features.data()).rejects.toMatchObject({
    code: 'ERR_INDEX_RANGE',
    message: expect.stringContaining('600'),
  });
  features.dispose();
});

test('a disposed model says so', async () => {
  const other = await loadTiny();
  other.dispose();
  other.dispose();
  const frames = tinyFrames();
  const refused = { code: 'ERR_DISPOSED', message: 'the model was disposed before' };
  expect(() => other.forward(frames, tinyTokens())).toThrow(expect.objectContaining(refused));
  expect(() => other.encodeText(tinyTokens())).toThrow(expect.objectContaining(refused));
  frames.dispose();
});

test('a video with damage among the frames that lead to the views is named in a warning', async () => {
  const warn = jest.spyOn(process, 'emitWarning').mockImplementation(() => {});
  try {
    const sound = fixturePath('video/h264_b_frames.mp4');
    const damaged = join(folder, 'damaged.mp4');
    // The length of the first unit of frame 16, to which others refer and which is no view itself.
    writeFileSync(damaged, readFileSync(sound).fill(0xff, 1662, 1666));
    await readViews(sound, model.geometry, {});
    expect(warn).not.toHaveBeenCalled();
    await readViews(damaged, model.geometry, {});
    expect(warn.mock.calls).toEqual([[expect.stringContaining('frame 16'), { code: 'VIDEO_DAMAGED' }]]);
  } finally {
    warn.mockRestore();
  }
});
