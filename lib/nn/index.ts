export { Embedding } from './embedding';
export * as init from './init';
export { Initializer, type InitializerOptions } from './init';
export { LayerNorm } from './layer_norm';
export { Linear } from './linear';
export { evaluation, type LoadOptions, type Mode, Module, type StateTensor } from './module';
export { MultiheadAttention, type SelfAttentionOptions } from './multihead_attention';
export { RecordedForward } from './recorded_forward';
export { Mlp, ResidualAttentionBlock, Transformer } from './transformer';
