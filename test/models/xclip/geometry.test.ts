import {
  checkGeometry,
  type Geometry,
  inferGeometry,
  inferPretrainedGeometry,
} from '../../../lib/models/xclip/geometry';
import { isVideoParameter, parameterShapes } from '../../../lib/models/xclip/parameters';
import { ZOO } from '../../../lib/models/zoo';
import { readFixture } from '../../support/fixture';
import { TINY } from '../../support/tiny_geometry';

/** A geometry in which no two sizes are the same. */
const ODD: Geometry = {
  ...TINY,
  frames: 5,
  embedDim: 192,
  imageSize: 42,
  patch: 7,
  visionWidth: 256,
  visionHeads: 4,
  visionLayers: 11,
  textWidth: 64,
  textHeads: 1,
  textLayers: 3,
  contextLength: 20,
  vocabSize: 300,
  mitLayers: 2,
  mitHeads: 3,
  promptLayers: 4,
  promptHeads: 3,
};

function tensorsOf(geometry: Geometry): Map<string, { shape: readonly number[] }> {
  return new Map([...parameterShapes(geometry)].map(([name, shape]) => [name, { shape }]));
}

const mismatch = (...parts: string[]) =>
  expect.objectContaining({
    code: 'ERR_CHECKPOINT_MISMATCH',
    message: expect.stringMatching(new RegExp(parts.join('.*'))),
  });

test('parameterShapes are names, shapes and order of an official checkpoint', () => {
  const { keys } = readFixture<{ keys: Record<string, number[]> }>('golden/tiny_checkpoint.json');
  expect([...parameterShapes(TINY)]).toEqual(Object.entries(keys));
});

describe('inferGeometry', () => {
  test.each([
    ['tiny', TINY],
    ['odd', ODD],
    ...Object.entries(ZOO).map(([arch, sizes]): [string, Geometry] => [arch, { arch, frames: 16, ...sizes }]),
  ])('of %s', (_, geometry) => expect(inferGeometry(tensorsOf(geometry), 'x.pth')).toEqual(geometry));

  test('does not mind the buffers of old exports', () => {
    const tensors = tensorsOf(TINY).set('input_resolution', { shape: [] });
    expect(inferGeometry(tensors, 'x.pth')).toEqual(TINY);
  });

  test.each<[string, (tensors: Map<string, { shape: readonly number[] }>) => void, string[]]>([
    ['nothing', (t) => t.clear(), ['x.pth', 'lacks mit.positional_embedding']],
    ['a parameter less', (t) => t.delete('visual.ln_post.bias'), ['lacks visual.ln_post.bias']],
    ['a layer less', (t) => removeAll(t, 'transformer.resblocks.0.'), ['lacks transformer.resblocks.0']],
    ['no layers', (t) => removeAll(t, 'mit.resblocks.'), ['no mit.resblocks.0']],
    ['a surplus tensor', (t) => t.set('head.weight', { shape: [5] }), ['no part.*head.weight']],
    [
      'an odd shape',
      (t) => t.set('ln_final.bias', { shape: [5] }),
      ['ln_final.bias', '\\[5\\]', '\\[128\\]'],
    ],
    [
      'another rank',
      (t) => t.set('visual.proj', { shape: [128] }),
      ['visual.proj', '\\[128\\]', 'expected 2'],
    ],
    ['no square grid', (t) => t.set('visual.positional_embedding', { shape: [16, 128] }), ['16 rows']],
    ['an odd width', (t) => t.set('visual.proj', { shape: [100, 128] }), ['visionWidth 100', '64']],
    [
      'other frames than MIT',
      (t) => t.set('mit.positional_embedding', { shape: [1, 4, 64] }),
      ['mit.positional_emb'],
    ],
    ['only an image-text model', (t) => removeAll(t, 'mit.'), ['--pretrained']],
  ])('refuses %s', (_, damage, parts) => {
    const tensors = tensorsOf(TINY);
    damage(tensors);
    expect(() => inferGeometry(tensors, 'x.pth')).toThrow(mismatch(...parts));
  });
});

describe('inferPretrainedGeometry', () => {
  const tensors = () => new Map([...tensorsOf(ODD)].filter(([name]) => !isVideoParameter(name)));

  test('takes the towers, and video parts in the published sizes', () => {
    const buffers = ['input_resolution', 'context_length', 'vocab_size'];
    const found = inferPretrainedGeometry(
      new Map([...tensors(), ...buffers.map((b) => [b, { shape: [] }] as const)]),
      'x.pt',
      8,
    );
    expect(found).toEqual({ ...ODD, frames: 8, mitLayers: 1, promptLayers: 2 });
  });

  test('names have the video parts that an image-text archive lacks', () => {
    const { keys } = readFixture<{ keys: Record<string, unknown> }>('golden/tiny_clip_jit.json');
    const towers = [...parameterShapes(TINY).keys()].filter((name) => !isVideoParameter(name));
    const buffers = ['input_resolution', 'context_length', 'vocab_size'];
    expect(Object.keys(keys).sort()).toEqual([...towers, ...buffers].sort());
  });

  test('refuses damage', () => {
    const damaged = tensors();
    damaged.delete('visual.class_embedding');
    expect(() => inferPretrainedGeometry(damaged, 'x.pt', 8)).toThrow(
      mismatch('x.pt', 'visual.class_embedding'),
    );
  });
});

describe('checkGeometry', () => {
  const found: Geometry = { arch: 'ViT-B/32', frames: 8, ...ZOO['ViT-B/32'] };

  test('takes the same model with another initial prompt weight', () => {
    expect(() => checkGeometry(found, { ...found, promptAlpha: 0.3 }, 'x.pth')).not.toThrow();
  });

  test('says what to set', () => {
    const wanted: Geometry = { arch: 'ViT-B/16', frames: 16, ...ZOO['ViT-B/16'] };
    expect(() => checkGeometry(found, wanted, 'x.pth')).toThrow(
      mismatch(
        'x.pth',
        'arch ViT-B/32',
        'frames 8 \\(configured: 16\\)',
        'set MODEL.ARCH ViT-B/32 DATA.NUM_FRAMES 8',
      ),
    );
    expect(() => checkGeometry(TINY, { ...TINY, textLayers: 3 }, 'x.pth')).toThrow(
      mismatch('textLayers 2 \\(configured: 3\\)', 'MODEL.CUSTOM'),
    );
  });

  // MODEL.ARCH custom alone would be refused: it needs a dozen sizes beside it.
  test('sends to the configuration of the run where sizes are those of no published model', () => {
    expect(() => checkGeometry(TINY, { ...TINY, ...ZOO['ViT-B/16'], arch: 'ViT-B/16' }, 'x.pth')).toThrow(
      mismatch('arch custom', 'config.yaml in the folder of that run, or take another checkpoint'),
    );
  });
});

function removeAll(tensors: Map<string, unknown>, prefix: string): void {
  for (const name of [...tensors.keys()]) if (name.startsWith(prefix)) tensors.delete(name);
}
