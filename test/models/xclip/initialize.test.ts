import type { Geometry } from '../../../lib/models/xclip/geometry';
import type { InitialValues } from '../../../lib/models/xclip/initialize';
import { XCLIP } from '../../../lib/models/xclip/xclip';

const geometry: Geometry = {
  arch: 'custom',
  frames: 8,
  embedDim: 128,
  imageSize: 64,
  patch: 16,
  visionWidth: 192,
  visionLayers: 1,
  visionHeads: 3,
  textWidth: 64,
  textLayers: 2,
  textHeads: 1,
  contextLength: 77,
  vocabSize: 500,
  mitLayers: 1,
  mitHeads: 2,
  promptLayers: 1,
  promptHeads: 2,
  promptAlpha: 0.25,
};

/** Standard deviation around 0 of each parameter's values. */
async function spreads(init: InitialValues): Promise<Map<string, number>> {
  const model = new XCLIP(geometry, { seed: 2, device: 'auto', init });
  const result = new Map<string, number>();
  for (const [name, parameter] of model.namedParameters()) {
    const values = Array.from((await parameter.data()) as Float32Array);
    result.set(name, Math.sqrt(values.reduce((sum, x) => sum + x * x, 0) / values.length));
  }
  model.dispose();
  return result;
}

const linear = (inputs: number) => 1 / Math.sqrt(3 * inputs);
const xavier = (width: number) => Math.sqrt(2 / (4 * width));

const finetune: [name: string, spread: number][] = [
  ['logit_scale', Math.log(1 / 0.07)],
  ['positional_embedding', 0.01],
  ['token_embedding.weight', 0.02],
  ['text_projection', 1 / 8],
  ['transformer.resblocks.0.attn.in_proj_weight', 1 / 8],
  ['transformer.resblocks.0.attn.out_proj.weight', 1 / 16],
  ['transformer.resblocks.1.mlp.c_proj.weight', 1 / 16],
  ['transformer.resblocks.1.mlp.c_fc.weight', 1 / Math.sqrt(128)],
  ['transformer.resblocks.1.attn.in_proj_bias', 0],
  ['ln_final.weight', 1],
  ['ln_final.bias', 0],
  ['visual.class_embedding', 192 ** -0.5],
  ['visual.positional_embedding', 192 ** -0.5],
  ['visual.proj', 192 ** -0.5],
  ['visual.conv1.weight', linear(3 * 256)],
  ['visual.transformer.resblocks.0.message_fc.weight', linear(192)],
  ['visual.transformer.resblocks.0.message_fc.bias', linear(192)],
  ['visual.transformer.resblocks.0.message_attn.in_proj_weight', xavier(192)],
  ['visual.transformer.resblocks.0.message_attn.out_proj.weight', linear(192)],
  ['visual.transformer.resblocks.0.message_attn.out_proj.bias', 0],
  ['visual.transformer.resblocks.0.message_ln.weight', 1],
  ['visual.transformer.resblocks.0.mlp.c_fc.bias', linear(192)],
  ['visual.transformer.resblocks.0.mlp.c_proj.bias', linear(768)],
  ['mit.positional_embedding', 0.02],
  ['mit.resblocks.0.attn.in_proj_weight', xavier(128)],
  ['mit.resblocks.0.attn.out_proj.weight', 0.02],
  ['mit.resblocks.0.mlp.c_fc.weight', 0.02],
  ['mit.resblocks.0.mlp.c_fc.bias', 0],
  ['mit.resblocks.0.ln_1.weight', 1],
  ['prompts_visual_proj', 1],
  ['prompts_visual_ln.weight', 1],
  ['prompts_generator.alpha', 0.25],
  ['prompts_generator.norm.weight', 1],
  ['prompts_generator.decoder.0.cross_attn.q_proj.weight', 0.02],
  ['prompts_generator.decoder.0.cross_attn.proj.bias', 0],
  ['prompts_generator.decoder.0.norm3.weight', 1],
  ['prompts_generator.decoder.0.mlp.3.weight', 0.02],
];

const scratch: typeof finetune = [
  ['logit_scale', Math.log(1 / 0.07)],
  ['positional_embedding', 0.06],
  ['visual.positional_embedding', 0.7],
  ['mit.positional_embedding', 0.4],
  ['visual.conv1.weight', 0.06],
  ['prompts_visual_proj', 0.06],
  ['visual.transformer.resblocks.0.message_fc.bias', 0],
  ['visual.ln_pre.weight', 1],
  ['prompts_generator.decoder.0.norm1.weight', 1],
  ['prompts_generator.alpha', 0.25],
];

test.each([
  ['finetune', finetune],
  ['scratch', scratch],
] as const)('%s values spread as their rules say', async (init, expected) => {
  const actual = await spreads(init);
  for (const [name, spread] of expected) {
    const off = Math.abs(actual.get(name)! - spread);
    // Few values estimate their spread badly: a vector of 192 is within a fifth.
    expect([name, off <= 0.2 * spread]).toEqual([name, true]);
  }
  const odd = [...actual].filter(
    ([name, spread]) => !Number.isFinite(spread) || (spread === 0 && !name.endsWith('bias')),
  );
  expect(odd).toEqual([]);
});
