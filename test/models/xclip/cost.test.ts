import { countOperations, countParameters, type ParameterModule } from '../../../lib/models/xclip/cost';
import { ZOO } from '../../../lib/models/zoo';
import { readFixture } from '../../support/fixture';

interface Counted {
  arch: keyof typeof ZOO;
  num_frames: number;
  counted_GFLOPs_all_but_text_encoder: number;
  library_counter_GFLOPs_text_encoder_K400: number;
  items_multiply_accumulates: Record<string, number>;
  parameters_total: number;
  parameters_by_module: Record<string, number>;
  trainable_when_text_fixed: number;
}
const { configs } = readFixture<{ configs: Counted[] }>('golden/flops.json');

/** Our names of the modules and parts to those of the reference file. */
const MODULES: Record<ParameterModule, string> = {
  vision: 'visual (without message_*)',
  message: 'visual message_fc/message_ln/message_attn',
  mit: 'mit',
  promptGenerator: 'prompts_generator',
  promptProjection: 'prompts_visual_ln + prompts_visual_proj',
  textTransformer: 'text: transformer',
  tokenEmbedding: 'text: token_embedding',
  textPositions: 'text: positional_embedding',
  textProjection: 'text: ln_final + text_projection',
  logitScale: 'logit_scale',
};
const PARTS: Record<string, string> = {
  'vision.patchEmbedding': 'patch_embedding',
  'vision.messageFc': 'vision.message_fc',
  'vision.messageAttention.projections': 'vision.message_attn.projections',
  'vision.messageAttention.products': 'vision.message_attn.matmuls',
  'vision.attention.projections': 'vision.attn.projections',
  'vision.attention.products': 'vision.attn.matmuls',
  'vision.mlp': 'vision.mlp',
  'vision.classProjection': 'vision.proj_of_class_token',
  'prompts.patchProjection': 'prompts_visual_proj',
  'mit.projections': 'mit.projections',
  'mit.products': 'mit.matmuls',
  'mit.mlp': 'mit.mlp',
  'prompts.queryAndOutput': 'prompts_generator.q_and_out',
  'prompts.keyAndValue': 'prompts_generator.k_and_v',
  'prompts.products': 'prompts_generator.matmuls',
  'prompts.mlp': 'prompts_generator.mlp',
  similarity: 'final_similarity',
  'text.attention.projections': 'text.attn.projections',
  'text.attention.products': 'text.attn.matmuls',
  'text.mlp': 'text.mlp',
  'text.projection': 'text.projection',
};

test('all seven published models are compared', () => expect(configs.length).toBe(7));

describe.each(configs)('$arch, $num_frames frames', (counted) => {
  const geometry = { arch: counted.arch, frames: counted.num_frames, ...ZOO[counted.arch] };

  test('parameters', () => {
    const { total, trainableWithFixedText, byModule } = countParameters(geometry);
    const named = Object.entries(byModule).map(([module, count]) => [
      MODULES[module as ParameterModule],
      count,
    ]);
    expect(Object.fromEntries(named)).toEqual(counted.parameters_by_module);
    expect([total, trainableWithFixedText]).toEqual([
      counted.parameters_total,
      counted.trainable_when_text_fixed,
    ]);
  });

  test('multiply-accumulates with 400 classes', () => {
    const { video, text, parts } = countOperations(geometry, 400);
    const named = Object.entries(parts).map(([part, count]) => [PARTS[part], count]);
    expect(Object.fromEntries(named)).toEqual(counted.items_multiply_accumulates);
    expect(video / 1e9).toBeCloseTo(counted.counted_GFLOPs_all_but_text_encoder, 4);
    expect(text / 1e9).toBeCloseTo(counted.library_counter_GFLOPs_text_encoder_K400, 4);
  });
});
