import { throwIfAborted } from '../base/abort';
import { checkInstance, checkKnownOptions, type KnownOptions } from '../base/check';
import { CodedError } from '../base/error';
import { Tensor, tensor } from '../tensor/tensor';

/** How a forward pass runs. It is passed in: a module has no training flag that could be left in the wrong state. */
export interface Mode {
  /** Whether stochastic parts (stochastic depth) are active. */
  training: boolean;
  /** Seed of those parts. */
  seed: number;
  /** Number of the forward pass: the same (seed, step) draws the same numbers. */
  step: number;
  /**
   * `streamOf(step, 0)` as int64 [] on the device, for a forward pass that is recorded: draws then come from what it holds
   * when they run, and `step` is 0.
   */
  stream?: Tensor;
  /** Recompute the activations of large blocks in the backward pass instead of keeping them. Default false. */
  checkpoint?: boolean;
  /** Shown intermediates under their names as they are computed; `keep(t.detach())` one to have it afterwards. */
  trace?: (name: string, value: Tensor) => void;
}

const modeKeys: KnownOptions<Mode> = {
  training: true,
  seed: true,
  step: true,
  stream: true,
  checkpoint: true,
  trace: true,
};

/** @throws ERR_ARGUMENT for what is no mode, or has more than one does */
export function checkMode(what: string, mode: Mode): void {
  checkKnownOptions(`${what}: mode`, mode, modeKeys);
}

/** Inference: nothing random, nothing recomputed. */
export const evaluation: Mode = Object.freeze({ training: false, seed: 0, step: 0 });

/** What a state dict to load holds: a tensor of a checkpoint that can be fetched. */
export interface StateTensor {
  readonly shape: readonly number[];
  float32(): Promise<Float32Array>;
}

export interface LoadOptions {
  /** Also fail on names that the module does not have or the state dict lacks (default true). */
  strict?: boolean;
  /** Where the state dict comes from, for messages. */
  source?: string;
  /** Stops between two tensors; the module is then partly loaded. */
  signal?: AbortSignal;
}

const loadKeys: KnownOptions<LoadOptions> = { strict: true, source: true, signal: true };

/**
 * A part of a network. Its parameters are the tensors it has as properties, its parts the modules (and arrays of
 * modules) it has as properties; names in a state dict are the property names, joined by dots.
 *
 * @example
 * class Head extends Module {
 *   readonly norm: LayerNorm;
 *   readonly fc: Linear;
 *
 *   constructor(init: Initializer) {
 *     super();
 *     this.norm = new LayerNorm(64, init);
 *     this.fc = new Linear(64, 10, init); // parameters norm.weight, norm.bias, fc.weight, fc.bias
 *   }
 *
 *   forward(x: Tensor): Tensor {
 *     return scope(() => this.fc.forward(this.norm.forward(x)));
 *   }
 * }
 */
export abstract class Module {
  /**
   * Parameters and their names: a module's own before those of its parts, each in the order of definition.
   * @throws ERR_ARGUMENT when a module is a part of itself
   */
  *namedParameters(prefix = ''): Generator<[name: string, parameter: Tensor]> {
    yield* this.named(prefix, []);
  }

  private *named(prefix: string, above: readonly Module[]): Generator<[name: string, parameter: Tensor]> {
    if (above.includes(this))
      throw new CodedError(
        'ERR_ARGUMENT',
        `${prefix.slice(0, -1)} is a module that it is a part of; keep what leads upward in a function or a private #field`,
      );
    for (const [name, value] of Object.entries(this)) {
      if (value instanceof Tensor) yield [prefix + name, value];
    }
    for (const [name, part] of this.parts()) yield* part.named(`${prefix}${name}.`, [...above, this]);
  }

  /** The parameters alone, in the order of {@link namedParameters}. */
  parameters(): Tensor[] {
    return Array.from(this.namedParameters(), ([, parameter]) => parameter);
  }

  /** The parameters by name: the live tensors, not copies. */
  stateDict(): Map<string, Tensor> {
    return new Map(this.namedParameters());
  }

  /**
   * Replaces the values of the parameters in place (converted to each parameter's dtype). Names and shapes are checked
   * before anything changes.
   *
   * @returns names of parameters that `state` lacks and names in `state` that no parameter has (not strict)
   * @throws ERR_CHECKPOINT_MISMATCH listing missing, unexpected and mis-shaped names; ERR_ABORTED
   */
  async loadStateDict(
    state: ReadonlyMap<string, StateTensor>,
    options: LoadOptions = {},
  ): Promise<{ missing: string[]; unexpected: string[] }> {
    checkInstance('loadStateDict', 'state', state, Map);
    checkKnownOptions('loadStateDict', options, loadKeys);
    const parameters = this.stateDict();
    const missing = [...parameters.keys()].filter((name) => !state.has(name));
    const unexpected = [...state.keys()].filter((name) => !parameters.has(name));
    const misshaped = [...parameters].flatMap(([name, { shape }]) => {
      const found = state.get(name);
      return found && String(found.shape) !== String(shape)
        ? [`${name} is [${found.shape}], not [${shape}]`]
        : [];
    });
    const strict = options.strict ?? true;
    if (misshaped.length > 0 || (strict && missing.length + unexpected.length > 0)) {
      const problems = [
        list('wrong shape', misshaped),
        list('missing', missing),
        list('unexpected', unexpected),
      ];
      throw new CodedError(
        'ERR_CHECKPOINT_MISMATCH',
        `${options.source ?? 'the state dict'} does not fit the model: ${problems.filter(Boolean).join('; ')}`,
      );
    }
    for (const [name, parameter] of parameters) {
      throwIfAborted(options.signal, 'loading the weights was aborted');
      const values = await state.get(name)?.float32();
      if (!values) continue;
      const source = tensor(values, parameter.shape, { device: parameter.device });
      parameter.assign(source);
      source.dispose();
    }
    return { missing, unexpected };
  }

  /** Excludes the parameters (those whose name `select` accepts) from training and drops their gradients. */
  freeze(select: (name: string) => boolean = () => true): void {
    for (const [name, parameter] of this.namedParameters()) {
      if (!select(name)) continue;
      parameter.requiresGrad = false;
      parameter.grad?.dispose();
      parameter.grad = null;
    }
  }

  /** Releases all parameters. Idempotent. */
  dispose(): void {
    for (const parameter of this.parameters()) parameter.dispose();
  }

  [Symbol.dispose](): void {
    this.dispose();
  }

  private *parts(): Generator<[string, Module]> {
    for (const [name, value] of Object.entries(this)) {
      if (value instanceof Module) yield [name, value];
      if (!Array.isArray(value)) continue;
      for (const [index, item] of value.entries())
        if (item instanceof Module) yield [`${name}.${index}`, item];
    }
  }
}

function list(what: string, items: string[], shown = 8): string {
  if (items.length === 0) return '';
  const rest = items.length > shown ? `, and ${items.length - shown} more` : '';
  return `${what}: ${items.slice(0, shown).join(', ')}${rest}`;
}
