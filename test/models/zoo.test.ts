import { loadConfig } from '../../lib/config/load';
import { ARCHITECTURES } from '../../lib/config/schema';
import { archOf, geometryOf, ZOO } from '../../lib/models/zoo';

test('every architecture of the configuration is there, and is recognised by its sizes', () => {
  expect([...Object.keys(ZOO), 'custom']).toEqual([...ARCHITECTURES]);
  for (const [name, sizes] of Object.entries(ZOO)) {
    expect(archOf({ ...sizes, promptAlpha: 0.5 })).toBe(name);
    expect([sizes.visionHeads, sizes.textHeads]).toEqual([sizes.visionWidth / 64, sizes.textWidth / 64]);
    expect([sizes.mitHeads, sizes.promptHeads]).toEqual([sizes.embedDim / 64, sizes.embedDim / 64]);
  }
  expect(archOf({ ...ZOO['ViT-B/32'], visionLayers: 11 })).toBe('custom');
});

test('geometryOf takes a published architecture and the frames of the configuration', () => {
  const geometry = geometryOf(loadConfig({ cfg: 'configs/k400/14_16_336.yaml' }));
  expect(geometry).toMatchObject({
    arch: 'ViT-L/14@336px',
    frames: 16,
    imageSize: 336,
    visionLayers: 24,
    textHeads: 12,
  });
});

test('geometryOf refuses another input size', () => {
  const config = loadConfig({ opts: ['DATA.INPUT_SIZE', '256'] });
  expect(() => geometryOf(config)).toThrow(
    expect.objectContaining({
      code: 'ERR_CONFIG_VALUE',
      message: expect.stringContaining('ViT-B/32 takes 224'),
    }),
  );
});

test('geometryOf takes a custom geometry', () => {
  const opts =
    'MODEL.ARCH custom DATA.INPUT_SIZE 32 DATA.NUM_FRAMES 4 MODEL.CUSTOM.patch 8 MODEL.CUSTOM.embed_dim 128 ' +
    'MODEL.CUSTOM.vision_width 192 MODEL.CUSTOM.vision_layers 3 MODEL.CUSTOM.prompt_alpha 0.2 MODEL.CUSTOM.vocab_size 600';
  expect(geometryOf(loadConfig({ opts: opts.split(' ') }))).toEqual({
    ...ZOO['ViT-B/32'],
    arch: 'custom',
    frames: 4,
    imageSize: 32,
    patch: 8,
    embedDim: 128,
    visionWidth: 192,
    visionHeads: 3,
    visionLayers: 3,
    mitHeads: 2,
    promptHeads: 2,
    promptAlpha: 0.2,
    vocabSize: 600,
  });
});
