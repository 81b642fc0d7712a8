import { CodedError } from '../base/error';
import { PyFloat, RawTensor, Tuple } from '../io';
import { native } from '../native/load';
import { keep } from '../tensor/scope';
import { describe, Tensor } from '../tensor/tensor';

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

interface State {
  step: number;
  expAvg: Tensor;
  expAvgSq: Tensor;
}

/**
 * Adam with decoupled weight decay (Loshchilov and Hutter, 2019). All parameters of a step are updated by one queued
 * task; moments are made at a parameter's first step.
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
  private readonly state = new Map<Tensor, State>();

  /** @throws ERR_ARGUMENT for rates out of range or a parameter given twice, ERR_DTYPE for one that is not float32 */
  constructor(groups: Iterable<ParameterGroupOptions>, options: AdamWOptions = {}) {
    const [beta1 = 0.9, beta2 = 0.999] = options.betas ?? [];
    this.betas = [beta1, beta2];
    this.eps = options.eps ?? 1e-8;
    checkRange('betas[0]', beta1, 0, 1);
    checkRange('betas[1]', beta2, 0, 1);
    checkRange('eps', this.eps, 0, Number.POSITIVE_INFINITY);
    this.groups = Array.from(groups, (group, i) => {
      const { name = `group ${i}`, params, lr, weightDecay = 0, lrScale = 1, ramp = false } = group;
      checkRange(`${name}: lr`, lr, 0, Number.POSITIVE_INFINITY);
      checkRange(`${name}: weightDecay`, weightDecay, 0, Number.POSITIVE_INFINITY);
      const members = Array.from(params, (p) => ('tensor' in p ? p : { name: p[0], tensor: p[1] }));
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

  /** Updates every parameter that has a gradient. */
  step(): void {
    // Parameters that began later (a first gradient after a resume, say) have a step count of their own.
    const byStep = new Map<number, { tensor: Tensor; state: State; group: OptimizerGroup }[]>();
    for (const group of this.groups) {
      for (const { tensor } of group.params) {
        if (!tensor.grad) continue;
        const state = this.stateOf(tensor);
        state.step++;
        const peers = byStep.get(state.step);
        if (peers) peers.push({ tensor, state, group });
        else byStep.set(state.step, [{ tensor, state, group }]);
      }
    }
    for (const [step, items] of byStep) {
      native().adamwStep(
        items.map(({ tensor }) => tensor.handle),
        items.map(({ tensor }) => tensor.grad!.handle),
        items.map(({ state }) => state.expAvg.handle),
        items.map(({ state }) => state.expAvgSq.handle),
        items.map(({ group }) => group.lr),
        items.map(({ group }) => group.weightDecay),
        ...this.betas,
        this.eps,
        step,
      );
      for (const { tensor } of items) tensor.version++;
    }
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
   * `writeTorch`. Tensors are read when they are written: do not step meanwhile.
   */
  stateDict(): Map<string, unknown> {
    const state = new Map<number, unknown>();
    for (const [number, tensor] of this.parameters().entries()) {
      const own = this.state.get(tensor);
      if (!own) continue;
      const { step, expAvg, expAvgSq } = own;
      state.set(
        number,
        new Map<string, unknown>([
          ['step', step],
          ['exp_avg', raw(expAvg)],
          ['exp_avg_sq', raw(expAvgSq)],
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
   * @throws ERR_CHECKPOINT_MISMATCH when groups, numbers or shapes are others
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
    const parameters = this.groups.flatMap((group) => group.params);
    const loaded: [Tensor, State][] = [];
    for (const [number, entry] of state) {
      const parameter = parameters[number as number];
      if (!parameter)
        throw mismatch(source, `it numbers a parameter ${String(number)} of ${parameters.length}`);
      const step = field(entry, 'step');
      loaded.push([
        parameter.tensor,
        {
          step: step instanceof RawTensor ? await step.item() : Number(step),
          expAvg: await moment(source, parameter, field(entry, 'exp_avg')),
          expAvgSq: await moment(source, parameter, field(entry, 'exp_avg_sq')),
        },
      ]);
    }
    this.dispose();
    for (const [tensor, own] of loaded) this.state.set(tensor, own);
    this.groups.forEach((group, i) => {
      group.lr = Number(field(groups[i], 'lr'));
    });
  }

  /** Releases the moments. */
  dispose(): void {
    for (const { expAvg, expAvgSq } of this.state.values()) {
      expAvg.dispose();
      expAvgSq.dispose();
    }
    this.state.clear();
  }

  private stateOf(tensor: Tensor): State {
    let state = this.state.get(tensor);
    if (!state) {
      const zeros = () => keep(new Tensor(native().full(tensor.shape, 0, 'float32', tensor.device)));
      state = { step: 0, expAvg: zeros(), expAvgSq: zeros() };
      this.state.set(tensor, state);
    }
    return state;
  }
}

function raw(tensor: Tensor): RawTensor {
  return new RawTensor('float32', tensor.shape, async () => {
    const data = await tensor.data();
    return new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
  });
}

async function moment(
  source: string,
  { name, tensor }: { name: string; tensor: Tensor },
  value: unknown,
): Promise<Tensor> {
  if (!(value instanceof RawTensor) || String(value.shape) !== String(tensor.shape)) {
    const found = value instanceof RawTensor ? `[${value.shape}]` : 'missing';
    throw mismatch(source, `a moment of ${name} is ${found}, not [${tensor.shape}]`);
  }
  const values = await value.float32();
  return keep(new Tensor(native().tensorFromHost(values, tensor.shape, 'float32', tensor.device)));
}

function field(value: unknown, key: string): unknown {
  return value instanceof Map ? value.get(key) : undefined;
}

function mismatch(source: string, what: string): CodedError {
  return new CodedError('ERR_CHECKPOINT_MISMATCH', `${source}: the optimizer state does not fit: ${what}`);
}

function checkRange(what: string, value: number, low: number, high: number): void {
  if (!(value >= low && value < high)) {
    throw new CodedError(
      'ERR_ARGUMENT',
      `AdamW: ${what} must be at least ${low} and below ${high}, got ${value}`,
    );
  }
}
