import { checkInstance, checkKnownOptions, type KnownOptions } from '../base/check';
import { CodedError } from '../base/error';
import { PyFloat } from '../io';
import { AdamW, type OptimizerGroup } from './adamw';

export interface CosineScheduleOptions {
  /** Steps of the whole run: the length of the half cosine. */
  totalSteps: number;
  /** Steps of the linear rise from 0 (default 0). */
  warmupSteps?: number;
  /** The learning rate at the end, the same for every group (default 0). */
  minLr?: number;
}

const keys: KnownOptions<CosineScheduleOptions> = { totalSteps: true, warmupSteps: true, minLr: true };

/**
 * The reference's learning rates: a linear rise from 0, then a half cosine down to `minLr`. Three properties shape the
 * result and are kept: the rate is 0 at construction, `stepUpdate` is called after an update with a count from 0 (so the
 * first two updates have rate 0), and the cosine is not shifted by the warm-up (so the peak is never used).
 *
 * @example
 * const schedule = new CosineSchedule(optimizer, { totalSteps: 30 * steps, warmupSteps: 5 * steps, minLr: 8e-8 });
 * optimizer.step();
 * schedule.stepUpdate(epoch * steps + index);
 */
export class CosineSchedule {
  private readonly totalSteps: number;
  private readonly warmupSteps: number;
  private readonly minLr: number;

  /** @throws ERR_ARGUMENT */
  constructor(
    private readonly optimizer: AdamW,
    options: CosineScheduleOptions,
  ) {
    checkInstance('CosineSchedule', 'optimizer', optimizer, AdamW);
    checkKnownOptions('CosineSchedule', options, keys);
    const { totalSteps, warmupSteps = 0, minLr = 0 } = options;
    for (const [what, value, low] of [
      ['totalSteps', totalSteps, 1],
      ['warmupSteps', warmupSteps, 0],
      ['minLr', minLr, 0],
    ] as const) {
      if (Number.isFinite(value) && value >= low) continue;
      throw new CodedError('ERR_ARGUMENT', `CosineSchedule: ${what} must be at least ${low}, got ${value}`);
    }
    this.totalSteps = totalSteps;
    this.warmupSteps = warmupSteps;
    this.minLr = minLr;
    for (const group of optimizer.groups) {
      group.lr = warmupSteps > 0 ? 0 : group.initialLr * factorOf(group, 0);
    }
  }

  /** Sets the rates that follow the update number `step`, counted from 0 over the whole run. */
  stepUpdate(step: number): void {
    for (const group of this.optimizer.groups) {
      group.lr = this.rate(group.initialLr, step) * factorOf(group, Math.min(1, step / this.totalSteps));
    }
  }

  /** The fields of the reference's scheduler that its code reads back. */
  stateDict(): Map<string, unknown> {
    return new Map<string, unknown>([
      ['base_values', this.optimizer.groups.map((group) => new PyFloat(group.initialLr))],
      ['t_initial', this.totalSteps],
      ['lr_min', new PyFloat(this.minLr)],
      ['warmup_t', this.warmupSteps],
    ]);
  }

  /**
   * Checks that a state dict is one of a scheduler. Nothing is taken from it: the present rates are in the optimizer's
   * state, and a run that is continued with another length follows its own configuration.
   *
   * @throws ERR_CHECKPOINT_MISMATCH
   */
  loadStateDict(dict: unknown, source = 'the schedule state'): void {
    const values = dict instanceof Map ? dict.get('base_values') : undefined;
    if (!Array.isArray(values) || values.length !== this.optimizer.groups.length) {
      throw new CodedError(
        'ERR_CHECKPOINT_MISMATCH',
        `${source}: the schedule state is not one of ${this.optimizer.groups.length} parameter groups`,
      );
    }
  }

  private rate(base: number, step: number): number {
    if (step < this.warmupSteps) return (step * base) / this.warmupSteps;
    if (step >= this.totalSteps) return this.minLr;
    return this.minLr + 0.5 * (base - this.minLr) * (1 + Math.cos((Math.PI * step) / this.totalSteps));
  }
}

function factorOf({ lrScale, ramp }: OptimizerGroup, done: number): number {
  return lrScale * (ramp ? done : 1);
}
