import { checkArray, checkKnownOptions, type KnownOptions, wrongKind } from '../base/check';
import { CodedError } from '../base/error';
import { PyFloat, Tuple } from '../io';
import { type DeviceType, native } from '../native/load';
import { checkTensor } from '../tensor/check';
import { keep, scope } from '../tensor/scope';
import { describe, Tensor, tensor } from '../tensor/tensor';
import { field, mismatch, moment, numberOf, raw, stepOf } from './adamw_state';

/** Parameters that share a learning rate and a weight decay. */
export interface ParameterGroupOptions {
  name?: string;
  /** float32 leaves, numbered by the optimizer in this order. */
  params: Iterable<{ name: string; tensor: Tensor } | readonly [name: string, tensor: Tensor]>;
  lr: number;
  /** Default 0. */
  weightDecay?: number;
  /** A schedule multiplies its value by this (default 1). */
  lrScale?: number;
  /** A schedule also multiplies its value by the share of the run that is done (default false). */
  ramp?: boolean;
}

/** A group inside the optimizer. */
export interface OptimizerGroup {
  readonly name: string;
  readonly params: readonly { name: string; tensor: Tensor }[];
  /** The learning rate of the next step; a schedule sets it. */
  lr: number;
  /** The learning rate that the group was made with. */
  initialLr: number;
  weightDecay: number;
  readonly lrScale: number;
  readonly ramp: boolean;
}

export interface AdamWOptions {
  /** Decay rates of the two moments (default [0.9, 0.999]). */
  betas?: readonly [number, number] | readonly number[];
  /** Default 1e-8. */
  eps?: number;
}

const keys: KnownOptions<AdamWOptions> = { betas: true, eps: true };
const groupKeys: KnownOptions<ParameterGroupOptions> = {
  name: true,
  params: true,
  lr: true,
  weightDecay: true,
  lrScale: true,
  ramp: true,
};

interface Moments {
  expAvg: Tensor;
  expAvgSq: Tensor;
}

/** What an update reads on the device besides parameters, gradients and moments; a row per parameter, by its number. */
interface Tables {
  /** int64 [R], updates so far */
  steps: Tensor;
  /** int64 [R, 2], the bits of the float64 learning rate and weight decay */
  rates: Tensor;
}

/**
 * Adam with decoupled weight decay (Loshchilov and Hutter, 2019). All parameters of a step are updated by one queued
 * task; moments are made at a parameter's first step. Step counts and rates lie on the device, where the update reads
 * them, so a recorded update can be replayed and an update can be left out without the host knowing.
 *
 * @example
 * const optimizer = new AdamW([{ params: net.namedParameters(), lr: 1e-3, weightDecay: 0.01 }]);
 * backward(loss);
 * optimizer.step();
 * optimizer.zeroGrad();
 */
export class AdamW {
  readonly groups: readonly OptimizerGroup[];
  private readonly betas: readonly [number, number];
  private readonly eps: number;
  private readonly moments = new Map<Tensor, Moments>();
  private tables: Tables | null = null;

  /** @throws ERR_ARGUMENT for rates out of range or a parameter given twice, ERR_DTYPE for one that is not float32 */
  constructor(groups: Iterable<ParameterGroupOptions>, options: AdamWOptions = {}) {
    checkKnownOptions('AdamW', options, keys);
    const { betas = [] } = options;
    checkArray('AdamW', 'betas', betas);
    const [beta1 = 0.9, beta2 = 0.999] = betas;
    this.betas = [beta1, beta2];
    this.eps = options.eps ?? 1e-8;
    checkRange('betas[0]', beta1, 0, 1);
    checkRange('betas[1]', beta2, 0, 1);
    checkRange('eps', this.eps, 0, Number.POSITIVE_INFINITY);
    checkIterable('groups', groups);
    this.groups = Array.from(groups, (group, i) => {
      checkGroup(i, group);
      checkKnownOptions(`AdamW: groups[${i}]`, group, groupKeys);
      const { name = `group ${i}`, params, lr, weightDecay = 0, lrScale = 1, ramp = false } = group;
      checkRates({ name, lr, weightDecay });
      checkRange(`${name}: lrScale`, lrScale, 0, Number.POSITIVE_INFINITY);
      const members = Array.from(params, (p, k) => memberOf(`${name}: params[${k}]`, p));
      return { name, params: members, lr, initialLr: lr, weightDecay, lrScale, ramp };
    });
    const seen = new Set<Tensor>();
    for (const { name, tensor } of this.groups.flatMap((group) => group.params)) {
      if (tensor.dtype !== 'float32') {
        throw new CodedError(
          'ERR_DTYPE',
          `AdamW: ${name} is ${describe(tensor)}; master weights are float32`,
        );
      }
      if (seen.has(tensor)) throw new CodedError('ERR_ARGUMENT', `AdamW: ${name} is given twice`);
      seen.add(tensor);
    }
  }

  /** Every parameter, in the order of its number. */
  parameters(): Tensor[] {
    return this.groups.flatMap((group) => group.params.map(({ tensor }) => tensor));
  }

  /**
   * Updates every parameter that has a gradient.
   *
   * @param options.when int32 []: where it is 0 once the update runs, nothing changes, not even the step counts
   * @throws ERR_ARGUMENT for a learning rate or weight decay set out of range since, before anything changes; ERR_SHAPE,
   *   ERR_DEVICE
   */
  step(options: { when?: Tensor | null } = {}): void {
    checkKnownOptions('AdamW.step', options, { when: true });
    this.prepare();
    this.apply(options);
  }

  /**
   * The host's part of a step: moments of new parameters, and the present rates on their way to the device.
   * @internal
   */
  prepare(): void {
    const stepped = this.parameters().filter((parameter) => parameter.grad);
    if (!stepped[0]) return;
    for (const group of this.groups) checkRates(group);
    const { device } = stepped[0];
    for (const parameter of stepped) {
      if (this.moments.has(parameter)) continue;
      const zeros = () => keep(new Tensor(native().full(parameter.shape, 0, 'float32', device)));
      this.moments.set(parameter, { expAvg: zeros(), expAvgSq: zeros() });
    }
    const count = this.parameters().length;
    this.tables ??= makeTables(new BigInt64Array(count), device);
    const { rates } = this.tables;
    const numbers = this.groups.flatMap(({ params, lr, weightDecay }) =>
      params.flatMap(() => [lr, weightDecay]),
    );
    const bits = new BigInt64Array(Float64Array.from(numbers).buffer);
    scope(() => rates.assign(tensor(bits, [count, 2], { device })));
  }

  /**
   * The device's part of a step, after {@link prepare}: it takes no number from the host, so it may be recorded.
   * @internal
   */
  apply({ when = null }: { when?: Tensor | null } = {}): void {
    const stepped = [...this.parameters().entries()].filter(([, parameter]) => parameter.grad);
    if (stepped.length === 0) return;
    const moments = stepped.map(([, parameter]) => this.moments.get(parameter)!);
    const copies = stepped.map(([, parameter]) => parameter.currentCopy);
    const { steps, rates } = this.tables!;
    native().adamwStep(
      stepped.map(([, parameter]) => parameter.handle),
      stepped.map(([, parameter]) => parameter.grad!.handle),
      moments.map(({ expAvg }) => expAvg.handle),
      moments.map(({ expAvgSq }) => expAvgSq.handle),
      stepped.map(([number]) => number),
      steps.handle,
      rates.handle,
      ...this.betas,
      this.eps,
      when?.handle ?? null,
      copies.map((copy) => copy?.handle ?? null),
    );
    for (const [i, [, parameter]] of stepped.entries()) parameter.changed(copies[i]);
  }

  /** Drops all gradients. */
  zeroGrad(): void {
    for (const tensor of this.parameters()) {
      tensor.grad?.dispose();
      tensor.grad = null;
    }
  }

  /**
   * The state in the layout of a torch optimizer: `{state: {number: {step, exp_avg, exp_avg_sq}}, param_groups}`, for
   * `writeTorch`. Moments are read when they are written: do not step meanwhile.
   */
  async stateDict(): Promise<Map<string, unknown>> {
    const state = new Map<number, unknown>();
    const steps = (await this.tables?.steps.data()) as BigInt64Array | undefined;
    for (const [number, parameter] of this.parameters().entries()) {
      const own = this.moments.get(parameter);
      const step = Number(steps?.[number] ?? 0);
      // A parameter whose updates were all left out has learnt nothing yet.
      if (!own || step === 0) continue;
      state.set(
        number,
        new Map<string, unknown>([
          ['step', step],
          ['exp_avg', raw(own.expAvg)],
          ['exp_avg_sq', raw(own.expAvgSq)],
        ]),
      );
    }
    let number = 0;
    const groups = this.groups.map(
      (group) =>
        new Map<string, unknown>([
          ['lr', new PyFloat(group.lr)],
          ['betas', new Tuple(this.betas.map((beta) => new PyFloat(beta)))],
          ['eps', new PyFloat(this.eps)],
          ['weight_decay', new PyFloat(group.weightDecay)],
          ['amsgrad', false],
          ['initial_lr', new PyFloat(group.initialLr)],
          ['params', group.params.map(() => number++)],
        ]),
    );
    return new Map<string, unknown>([
      ['state', state],
      ['param_groups', groups],
    ]);
  }

  /**
   * Continues from a state dict: moments, step counts and present learning rates. A parameter without state starts
   * anew at its next gradient.
   *
   * @param source names the file in messages
   * @throws ERR_CHECKPOINT_MISMATCH when groups, numbers or shapes are others, or it is damaged; nothing is changed then
   */
  async loadStateDict(dict: unknown, source = 'the optimizer state'): Promise<void> {
    const groups = field(dict, 'param_groups');
    const state = field(dict, 'state');
    if (!Array.isArray(groups) || !(state instanceof Map)) throw mismatch(source, 'it is no optimizer state');
    const sizes = groups.map((group) => (field(group, 'params') as unknown[] | undefined)?.length ?? -1);
    const expected = this.groups.map((group) => group.params.length);
    if (String(sizes) !== String(expected)) {
      throw mismatch(
        source,
        `it has parameter groups of ${sizes}, this run of ${expected}; is MODEL.FIX_TEXT the same?`,
      );
    }
    const lrs = groups.map((group) => numberOf(source, 'a learning rate', field(group, 'lr')));
    const parameters = this.groups.flatMap((group) => group.params);
    const steps = new BigInt64Array(parameters.length);
    const loaded = new Map<Tensor, Moments>();
    const made: Tensor[] = [];
    try {
      for (const [number, entry] of state) {
        const parameter = parameters[number as number];
        if (!parameter)
          throw mismatch(source, `it numbers a parameter ${String(number)} of ${parameters.length}`);
        steps[number as number] = await stepOf(source, parameter, field(entry, 'step'));
        const expAvg = await moment(source, parameter, field(entry, 'exp_avg'));
        made.push(expAvg);
        const expAvgSq = await moment(source, parameter, field(entry, 'exp_avg_sq'));
        made.push(expAvgSq);
        loaded.set(parameter.tensor, { expAvg, expAvgSq });
      }
    } catch (error) {
      for (const each of made) each.dispose();
      throw error;
    }
    this.dispose();
    for (const [parameter, own] of loaded) this.moments.set(parameter, own);
    const [first] = loaded.keys();
    if (first) this.tables = makeTables(steps, first.device);
    this.groups.forEach((group, i) => {
      group.lr = lrs[i]!;
    });
  }

  /** Releases the moments and step counts. */
  dispose(): void {
    for (const { expAvg, expAvgSq } of this.moments.values()) {
      expAvg.dispose();
      expAvgSq.dispose();
    }
    this.moments.clear();
    this.tables?.steps.dispose();
    this.tables?.rates.dispose();
    this.tables = null;
  }
}

function makeTables(steps: BigInt64Array, device: DeviceType): Tables {
  return {
    steps: keep(tensor(steps, undefined, { device })),
    rates: keep(new Tensor(native().full([steps.length, 2], 0, 'int64', device))),
  };
}

function checkIterable(what: string, value: unknown): void {
  if (typeof value !== 'object' || value === null || !(Symbol.iterator in value))
    throw wrongKind('AdamW', what, 'an array or another list', value);
}

function checkGroup(i: number, group: ParameterGroupOptions): void {
  if (typeof group !== 'object' || group === null || group instanceof Tensor)
    throw wrongKind('AdamW', `group ${i}`, 'an object { params, lr }', group);
  checkIterable(`group ${i}: params`, group.params);
}

/** A parameter with its name, as `namedParameters()` gives them. */
function memberOf(
  what: string,
  given: { name: string; tensor: Tensor } | readonly [name: string, tensor: Tensor],
) {
  const pair = given as Partial<{ name: unknown; tensor: unknown }> | undefined;
  const [name, tensor] = Array.isArray(given) ? given : [pair?.name, pair?.tensor];
  if (typeof name !== 'string')
    throw wrongKind('AdamW', what, 'a name with a tensor, as namedParameters() gives them', given);
  checkTensor('AdamW', what, tensor);
  return { name, tensor };
}

function checkRates({ name, lr, weightDecay }: Pick<OptimizerGroup, 'name' | 'lr' | 'weightDecay'>): void {
  checkRange(`${name}: lr`, lr, 0, Number.POSITIVE_INFINITY);
  checkRange(`${name}: weightDecay`, weightDecay, 0, Number.POSITIVE_INFINITY);
}

function checkRange(what: string, value: number, low: number, high: number): void {
  if (typeof value !== 'number' || !(value >= low && value < high)) {
    throw new CodedError(
      'ERR_ARGUMENT',
      `AdamW: ${what} must be at least ${low} and below ${high}, got ${value}`,
    );
  }
}
