import type { KnownOptions } from '../base/check';
import type { Config } from '../config/schema';
import type { Mode, Module } from '../nn/module';
import type { Device, Tensor } from '../tensor/tensor';
import type { ComputeDtype } from './dtype';

/** Parameters that share a learning rate and a weight decay. */
export interface ParameterGroup {
  name: string;
  params: { name: string; tensor: Tensor }[];
  /** Learning rate before the schedule. */
  lr: number;
  weightDecay: number;
  /** The schedule's value is multiplied by this (default 1). */
  lrScale?: number;
  /** The schedule's value is also multiplied by the share of the run that is done: a linear ramp from 0 to 1. */
  ramp?: boolean;
}

export interface TaskOptions {
  /** Default: the configuration's MODEL.DEVICE. */
  device?: Device;
  signal?: AbortSignal;
}

export const taskKeys: KnownOptions<TaskOptions> = { device: true, signal: true };

/** A model together with how it is trained: all that the engine knows about either. */
export interface Task {
  readonly name: string;
  readonly classNames: readonly string[];
  readonly model: Module;
  /** Frames per clip, T. */
  readonly frames: number;
  /** Side of the square input in pixels. */
  readonly inputSize: number;
  /** What activations are computed in; parameters are float32. */
  readonly computeDtype: ComputeDtype;
  /** float32 frames [B, T, 3, H, W] to float32 logits [B, K] over `classNames`. */
  forward(frames: Tensor, mode: Mode): Tensor;
  /**
   * Mean loss of a batch, a float32 scalar.
   *
   * @param targets class numbers, int32 [B], or soft targets whose rows sum to 1, float32 [B, K]
   */
  loss(logits: Tensor, targets: Tensor, config: Config): Tensor;
  /** Trainable parameters in the order that an optimizer numbers them. */
  parameterGroups(config: Config): ParameterGroup[];
  /**
   * Replaces all weights by those of a checkpoint in any format. Nothing changes unless it holds the same model.
   *
   * @throws ERR_CHECKPOINT_MISMATCH saying what differs and what to set; what `readCheckpoint` throws; ERR_ABORTED
   */
  load(path: string, options?: { signal?: AbortSignal }): Promise<void>;
  /** Gives back what forward passes without gradients have left on the device to be replayed, and its memory. */
  releaseRecordings(): void;
  dispose(): void;
}
