import { copyFileSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  RawTensor as Raw,
  type RawTensor,
  readCheckpoint,
  writeSafetensors,
  writeTorch,
} from '../../../lib/io';
import { rawStateDict } from '../../../lib/models/state_dict';
import { loadPretrained } from '../../../lib/models/xclip/weights';
import { XCLIP } from '../../../lib/models/xclip/xclip';
import { memory } from '../../../lib/native/device';
import { noGrad } from '../../../lib/tensor/autograd';
import { expectClose } from '../../support/check_op';
import { goldenPath, readGolden } from '../../support/golden';
import { readSafetensors } from '../../support/safetensors';
import { largest, loadTiny, recorded, tinyFrames, tinyTokens } from '../../support/tiny_model';

const folder = mkdtempSync(join(tmpdir(), 'xclip-load-'));
afterAll(() => rmSync(folder, { recursive: true }));

async function logitsOf(model: XCLIP): Promise<Float32Array> {
  const frames = tinyFrames();
  const logits = noGrad(() => model.forward(frames, tinyTokens()));
  const values = (await logits.data()) as Float32Array;
  frames.dispose();
  logits.dispose();
  return values;
}

const logits = recorded.get('logits')!.data;
const checkpoint = readGolden<{
  logits_with_half_rounded_weights_computed_in_float32: number[][];
  keys: Record<string, number[]>;
}>('tiny_checkpoint.json');

test('names, their order and shapes are those of the official checkpoint', async () => {
  const model = await loadTiny();
  const shapes = Array.from(model.namedParameters(), ([name, { shape }]) => [name, [...shape]]);
  expect(shapes).toEqual(Object.entries(checkpoint.keys));
  model.dispose();
});

test('a half precision checkpoint gives the logits of its rounded weights', async () => {
  const model = await XCLIP.load(goldenPath('tiny_fp16.pth'), { device: 'auto' });
  const expected = checkpoint.logits_with_half_rounded_weights_computed_in_float32.flat();
  const actual = await logitsOf(model);
  expectClose('logits', actual, expected, 2e-5);
  expectClose('logits of full weights', actual, logits, 2e-3);
  model.dispose();
});

/** The weights of the tiny model as another tool would name and lay them out. */
async function huggingFaceFolder(): Promise<string> {
  const { mapping } = readGolden<{ mapping: [string, string, string][] }>('tiny_hf_check.json');
  const model = await loadTiny();
  const state = rawStateDict(model);
  const tensors = new Map<string, RawTensor>();
  for (const [theirs, ours, how] of mapping) {
    const source = state.get(ours)!;
    const values = await source.float32();
    if (how === 'copy') tensors.set(theirs, source);
    else if (how.startsWith('transpose')) {
      const [rows, columns] = source.shape as [number, number];
      const turned = values.map((_, i) => values[(i % rows) * columns + Math.floor(i / rows)]!);
      tensors.set(theirs, new Raw('float32', [columns, rows], turned));
    } else {
      const part = ['q', 'k', 'v'].findIndex((letter) => theirs.includes(`.${letter}_proj.`));
      const size = values.length / 3;
      const shape = [source.shape[0]! / 3, ...source.shape.slice(1)];
      tensors.set(theirs, new Raw('float32', shape, values.slice(part * size, (part + 1) * size)));
    }
  }
  await writeSafetensors(join(folder, 'model.safetensors'), tensors);
  copyFileSync(goldenPath('tiny_hf/config.json'), join(folder, 'config.json'));
  model.dispose();
  return folder;
}

test('a Hugging Face folder, safetensors and what we write ourselves give the same numbers', async () => {
  const model = await loadTiny();
  const state = rawStateDict(model);
  const safetensors = join(folder, 'tiny.safetensors');
  const torch = join(folder, 'wrapped.pth');
  await writeSafetensors(safetensors, state);
  await writeTorch(torch, { model: new Map([...state].map(([name, raw]) => [`module.${name}`, raw])) });
  const expected = await logitsOf(model);
  expectClose('logits', expected, logits, 2e-5);
  model.dispose();
  for (const path of [safetensors, torch, await huggingFaceFolder()]) {
    const other = await XCLIP.load(path, { device: 'auto' });
    expect([path, await logitsOf(other)]).toEqual([path, expected]);
    other.dispose();
  }
});

test('names are the same with `module.` before all or some of them, but not twice', async () => {
  await using checkpoint = await readCheckpoint(goldenPath('tiny.pth'));
  const path = join(folder, 'partly_wrapped.pth');
  const tensors = [...checkpoint.stateDict];
  const save = (rename: (name: string) => string, more: typeof tensors = []) =>
    writeTorch(path, {
      model: new Map([...tensors.map(([name, raw]) => [rename(name), raw] as const), ...more]),
    });
  await save((name) => (name.startsWith('visual.') ? `module.${name}` : name));
  using model = await XCLIP.load(path, { device: 'auto' });
  expectClose('logits', await logitsOf(model), logits, 2e-5);

  const [name, raw] = tensors[0]!;
  await save((same) => same, [[`module.${name}`, raw]]);
  await expect(XCLIP.load(path)).rejects.toMatchObject({
    code: 'ERR_CHECKPOINT_MISMATCH',
    message: `${path} has both ${name} and module.${name}`,
  });
});

test('a loaded model records nothing unless it is to be trained', async () => {
  const model = await XCLIP.load(goldenPath('tiny.pth'), { device: 'auto' });
  const frames = tinyFrames();
  const result = model.forward(frames, tinyTokens());
  expect(result.requiresGrad).toBe(false);
  for (const t of [result, frames, model]) t.dispose();
});

test('bfloat16 halves the weights of products and stays near the float32 logits', async () => {
  const before = memory().liveBytes;
  const model = await XCLIP.load(goldenPath('tiny.pth'), { device: 'auto', dtype: 'bfloat16' });
  expect(memory().liveBytes - before).toBeLessThan(0.6 * 4 * 1998465);
  const dtypes = (names: string[]) => names.map((name) => model.stateDict().get(name)!.dtype);
  expect(dtypes(['visual.conv1.weight', 'mit.resblocks.0.mlp.c_fc.weight', 'visual.proj'])).toEqual(
    Array(3).fill('bfloat16'),
  );
  expect(dtypes(['visual.ln_pre.weight', 'mit.positional_embedding', 'logit_scale'])).toEqual(
    Array(3).fill('float32'),
  );
  // Eight bits of precision in weights and activations; the largest logit is 1.4.
  expectClose('logits', await logitsOf(model), logits, 0.06);
  model.dispose();
});

test('a dtype that nothing computes in is told what there is', async () => {
  for (const dtype of ['fp16', 'int32'] as never[])
    await expect(XCLIP.load(goldenPath('tiny.pth'), { dtype })).rejects.toMatchObject({
      code: 'ERR_DTYPE',
      message: expect.stringMatching(/^XCLIP: cannot compute in .*; use float32, bfloat16 or float16$/),
    });
});

test('image-text weights load, and the video parts keep their initial values', async () => {
  const tiny = await loadTiny();
  const model = new XCLIP(tiny.geometry, { seed: 3, device: 'auto' });
  const parameters = model.stateDict();
  const alphaBefore = await parameters.get('prompts_generator.alpha')!.toArray();
  const kept = await loadPretrained(model, goldenPath('tiny_clip_jit.pt'));
  const { xclip_keys_absent_from_archive: absent } = readGolden<{
    xclip_keys_absent_from_archive: string[];
  }>('tiny_clip_jit.json');
  expect(kept.sort()).toEqual([...absent].sort());
  expect(await parameters.get('prompts_generator.alpha')!.toArray()).toEqual(alphaBefore);
  const clip = readSafetensors(goldenPath('tiny_clip_io.safetensors'));
  const { data: ids, shape } = clip.get('input.tokens')!;
  const features = noGrad(() =>
    model.encodeText({ ids: Int32Array.from(ids), shape: shape as [number, number] }),
  );
  const expected = clip.get('text_features')!.data;
  expectClose('features', (await features.data()) as Float32Array, expected, 2e-5 * largest(expected));
  for (const t of [features, model, tiny]) t.dispose();
});

test('fine-tuning can start from an X-CLIP checkpoint of the same geometry', async () => {
  const tiny = await loadTiny();
  const model = new XCLIP(tiny.geometry, { device: 'auto' });
  expect(await loadPretrained(model, goldenPath('tiny.pth'))).toEqual([]);
  expect(await logitsOf(model)).toEqual(await logitsOf(tiny));
  model.dispose();
  const longer = new XCLIP({ ...tiny.geometry, frames: 8 }, { device: 'auto' });
  await expect(loadPretrained(longer, goldenPath('tiny.pth'))).rejects.toMatchObject({
    code: 'ERR_CHECKPOINT_MISMATCH',
    message: expect.stringMatching(/frames 4 .*8.*DATA\.NUM_FRAMES 4/),
  });
  const finer = new XCLIP({ ...tiny.geometry, patch: 16 }, { device: 'auto' });
  await expect(loadPretrained(finer, goldenPath('tiny_clip_jit.pt'))).rejects.toMatchObject({
    code: 'ERR_CHECKPOINT_MISMATCH',
    message: expect.stringMatching(/patch 8 .*16/),
  });
  for (const t of [tiny, longer, finer]) t.dispose();
});

test('image-text weights alone are no X-CLIP model', async () => {
  await expect(XCLIP.load(goldenPath('tiny_clip_jit.pt'))).rejects.toMatchObject({
    code: 'ERR_CHECKPOINT_MISMATCH',
    message: expect.stringMatching(/image-text model.*pretrained/),
  });
});

test('nothing stays behind when loading fails or is aborted', async () => {
  const before = memory().liveTensors;
  const signal = AbortSignal.abort();
  const aborted = XCLIP.load(goldenPath('tiny.pth'), { device: 'auto', signal });
  await expect(aborted).rejects.toMatchObject({ code: 'ERR_ABORTED' });
  await expect(XCLIP.load(join(folder, 'none.pth'))).rejects.toMatchObject({ code: 'ERR_FILE_NOT_FOUND' });
  expect(memory().liveTensors).toBe(before);
});

test('what is written is what was read', async () => {
  const model = await loadTiny();
  const path = join(folder, 'again.pth');
  await writeTorch(path, { model: rawStateDict(model) });
  const [ours, theirs] = [await readCheckpoint(path), await readCheckpoint(goldenPath('tiny.pth'))];
  expect([...ours.stateDict.keys()]).toEqual([...theirs.stateDict.keys()]);
  for (const [name, raw] of ours.stateDict) {
    expect(Buffer.compare(await raw.data(), await theirs.stateDict.get(name)!.data())).toBe(0);
  }
  await Promise.all([ours.close(), theirs.close()]);
  model.dispose();
});
