import { XCLIP } from '../../lib/models/xclip/xclip';
import type { Mode } from '../../lib/nn/module';
import { evaluation } from '../../lib/nn/module';
import { keep } from '../../lib/tensor/scope';
import { type Tensor, tensor } from '../../lib/tensor/tensor';
import { goldenPath } from './golden';
import { readSafetensors } from './safetensors';

export type Recorded = ReturnType<typeof readSafetensors>;

/** Inputs and intermediates that the reference implementation recorded for the tiny model. */
export const recorded: Recorded = readSafetensors(goldenPath('tiny_io.safetensors'));

/** The tiny model with the recorded weights, trainable. */
export function loadTiny(options: Parameters<typeof XCLIP.load>[1] = {}): Promise<XCLIP> {
  return XCLIP.load(goldenPath('tiny.pth'), { device: 'auto', trainable: true, ...options });
}

/** Recorded clips, float32 [2, 4, 3, 32, 32]. */
export function tinyFrames(): Tensor {
  const { shape, data } = recorded.get('input.images')!;
  return tensor(Float32Array.from(data), shape, { device: 'auto' });
}

/** Recorded token ids [5, 77]. */
export function tinyTokens(): { ids: Int32Array; shape: [number, number] } {
  const { shape, data } = recorded.get('input.tokens')!;
  return { ids: Int32Array.from(data), shape: shape as [number, number] };
}

/** A mode that keeps what the model shows under its names; the caller disposes the tensors. */
export function tracing(): { mode: Mode; seen: Map<string, Tensor> } {
  const seen = new Map<string, Tensor>();
  const trace = (name: string, value: Tensor) => void seen.set(name, keep(value.detach()));
  return { mode: { ...evaluation, trace }, seen };
}

export function largest(values: ArrayLike<number>): number {
  let result = 0;
  for (let i = 0; i < values.length; i++) result = Math.max(result, Math.abs(values[i]!));
  return result;
}

/** |actual - expected| / |expected|, Euclidean. */
export function relativeL2(actual: ArrayLike<number>, expected: ArrayLike<number>): number {
  let difference = 0;
  let norm = 0;
  for (let i = 0; i < expected.length; i++) {
    difference += (actual[i]! - expected[i]!) ** 2;
    norm += expected[i]! ** 2;
  }
  return Math.sqrt(difference / norm);
}
