import { types } from 'node:util';
import { checkFunction, named } from '../base/check';
import { CodedError } from '../base/error';
import { type NativeTensor, native } from '../native/load';
import { checkOptionalTensor, checkTensor, checkTensors } from './check';
import { keep } from './scope';
import { describe, Tensor } from './tensor';

/** Returned by a derivative that has already added its gradient to the leaf's own (see {@link Backward.into}). */
export const ACCUMULATED = Symbol('accumulated');
/** A gradient on its way to an input: a handle that the engine takes over, none, or added already. */
export type Gradient = NativeTensor | null | typeof ACCUMULATED;

/** What a derivative is given besides the output gradients and the saved tensors. */
export interface Backward {
  /** Which inputs want a gradient; the others' may be returned as null. */
  needs: readonly boolean[];
  /**
   * The existing gradient of input `i` when that is a leaf: a derivative that can add to it in place does so and
   * returns {@link ACCUMULATED} for that input, which saves a tensor and a pass over it.
   */
  into(i: number): NativeTensor | null;
  /**
   * Takes what input `i` has received so far from later operations, for a derivative that can add it to its own gradient
   * in passing; that gradient then stands for both. Null when there is nothing yet, and for a leaf. Call it at most once
   * per input; the handle lives as long as the saved ones.
   */
  take(i: number): NativeTensor | null;
}

/**
 * The derivative of an operation: gradients of the outputs (null where an output did not reach the loss) and the
 * handles that the forward saved, to a gradient per input (null for none). It must not release what it is given.
 */
export type Derivative = (
  grads: readonly (NativeTensor | null)[],
  saved: readonly (NativeTensor | null)[],
  backward: Backward,
) => Gradient[];

/** Given to an operation's forward: what it saves reaches the derivative. */
export interface Forward {
  /** False when nothing will be differentiated: aux outputs need not be computed. */
  recording: boolean;
  /** Which inputs will want a gradient; none when nothing is recorded. */
  needs: readonly boolean[];
  /**
   * Saves inputs, cached casts of inputs, outputs, or freshly made handles; null in the place of one that no derivative
   * by an input in `needs` reads, since what is saved is held and must not change. Call at most once.
   */
  save(...handles: (NativeTensor | null)[]): void;
  /** Names leaves that the derivative adds gradients to although they are no inputs. */
  reaches(leaves: Iterable<Tensor>): void;
}

/** A tensor's place in the graph: output `index` of `node`. */
export interface Edge {
  node: Node;
  index: number;
}

interface Input {
  edge: Edge | null;
  leaf: Tensor | null;
}

class Node {
  pendingGrads: (NativeTensor | null)[];
  /** What the derivative reads as the forward left it. */
  unchanged: (Pick<Tensor, 'dtype' | 'shape' | 'changes'> & { count: number })[] = [];
  /** Leaves that get gradients from here other than as inputs. */
  reached: Iterable<Tensor> = [];
  constructor(
    readonly name: string,
    readonly order: number,
    readonly inputs: Input[],
    outputs: number,
    public saved: (NativeTensor | null)[] | null,
    readonly derivative: Derivative | null,
  ) {
    this.pendingGrads = new Array(outputs).fill(null);
  }

  /** Every leaf that this node may add a gradient to, once. */
  leaves(): Set<Tensor> {
    const found = new Set(this.reached);
    for (const { leaf } of this.inputs) if (leaf) found.add(leaf);
    return found;
  }

  releaseSaved(): void {
    for (const handle of this.saved ?? []) if (handle) native().release(handle);
    this.saved = null;
  }
}

let recording = true;
let order = 0;
/** While set, gathers the leaves that operations read, recorded or not. */
let leavesRead: Set<Tensor> | null = null;

/** Whether operations are being recorded. */
export function isRecording(): boolean {
  return recording;
}

/** Runs `body` without recording; what it computes has no history. @throws ERR_ARGUMENT on an async body */
export function noGrad<T>(body: () => T): T {
  return withRecording('noGrad', false, body);
}

/** Runs `body` with recording on, whatever surrounds it. */
export function enableGrad<T>(body: () => T): T {
  return withRecording('enableGrad', true, body);
}

function withRecording<T>(what: string, on: boolean, body: () => T): T {
  checkFunction(what, 'body', body);
  const before = recording;
  recording = on;
  try {
    const result = body();
    if (types.isPromise(result)) {
      throw new CodedError('ERR_ARGUMENT', `${what}: the body returned a promise; it must be synchronous`);
    }
    return result;
  } finally {
    recording = before;
  }
}

/**
 * The one way to declare an operation: forward and derivative side by side, both over native handles.
 *
 * @param name as in error messages
 * @param inputs tensors the result depends on (null for an absent optional one)
 * @param forward returns one handle per output
 * @param derivative null for an operation that has none: differentiating it throws ERR_NO_GRADIENT
 * @param always record even if no input requires a gradient: for what reaches leaves by other ways than its inputs
 */
export function operation(
  name: string,
  inputs: readonly (Tensor | null | undefined)[],
  forward: (context: Forward) => NativeTensor[],
  derivative: Derivative | null,
  always = false,
): Tensor[] {
  const needed = recording && (always || inputs.some((input) => input?.requiresGrad));
  if (leavesRead) for (const input of inputs) if (input?.requiresGrad && !input.edge) leavesRead.add(input);
  let saved: (NativeTensor | null)[] = [];
  let reached: Iterable<Tensor> = [];
  const context: Forward = {
    recording: needed,
    needs: inputs.map((input) => needed && (input?.requiresGrad ?? false)),
    save: (...list) => {
      saved = list;
    },
    reaches: (leaves) => {
      reached = leaves;
    },
  };
  const handles = named(name, () => forward(context));
  const outputs = handles.map((handle) => new Tensor(handle));
  const isOwned = (handle: NativeTensor) =>
    handles.includes(handle) || inputs.some((input) => input?.owns(handle));
  if (!needed) {
    for (const handle of saved) if (handle && !isOwned(handle)) native().release(handle);
    return outputs;
  }
  const node = new Node(
    name,
    order++,
    inputs.map((input) => ({
      edge: input?.edge ?? null,
      leaf: input?.requiresGrad && !input.edge ? input : null,
    })),
    handles.length,
    saved.map((handle) => (handle && isOwned(handle) ? native().retain(handle) : handle)),
    derivative,
  );
  node.reached = reached;
  for (const x of [...inputs, ...outputs]) {
    if (!x || !saved.some((handle) => handle && x.owns(handle))) continue;
    const { dtype, shape, changes } = x;
    node.unchanged.push({ dtype, shape, changes, count: changes.count });
  }
  outputs.forEach((output, index) => {
    output.edge = { node, index };
  });
  return outputs;
}

/** {@link operation} with a single output. */
export function unaryOutput(
  name: string,
  inputs: readonly (Tensor | null | undefined)[],
  forward: (context: Forward) => NativeTensor,
  derivative: Derivative | null,
): Tensor {
  return operation(name, inputs, (context) => [forward(context)], derivative)[0]!;
}

/**
 * Adds d(root)/d(leaf) to the `grad` of every leaf that `root` depends on, and releases what the graph saved. The
 * graph can be differentiated once.
 *
 * @param root a scalar, or any tensor together with `gradient`, which is d(loss)/d(root)
 * @param finished told each leaf that `root` depends on, once all that adds to its gradient is queued
 * @throws ERR_NO_GRADIENT when root has no history, was differentiated before, an operation has no derivative, or a
 *   tensor that one needs was changed in place since
 */
export function backward(root: Tensor, gradient?: Tensor, finished?: (leaf: Tensor) => void): void {
  checkTensor('backward', 'root', root);
  checkOptionalTensor('backward', 'gradient', gradient);
  if (!root.edge) {
    throw new CodedError(
      'ERR_NO_GRADIENT',
      `backward: ${describe(root)} does not depend on a tensor that requires a gradient`,
    );
  }
  if (!gradient && root.size !== 1) {
    throw new CodedError(
      'ERR_SHAPE',
      `backward: ${describe(root)} is not a scalar; pass the gradient of the loss by it`,
    );
  }
  if (gradient && (gradient.dtype !== root.dtype || String(gradient.shape) !== String(root.shape))) {
    throw new CodedError(
      'ERR_SHAPE',
      `backward: gradient ${describe(gradient)} does not fit ${describe(root)}`,
    );
  }
  const nodes = reachable(root.edge.node);
  const { node, index } = root.edge;
  node.pendingGrads[index] = gradient
    ? native().retain(gradient.handle)
    : native().full(root.shape, 1, root.dtype, root.device);
  const passed = finished ? lastUse(nodes, finished) : () => {};
  try {
    for (const current of nodes) {
      propagate(current);
      passed(current);
    }
  } catch (error) {
    for (const current of nodes) {
      current.releaseSaved();
      releaseGrads(current);
    }
    throw error;
  }
}

// Counts the nodes that each leaf still waits for. @returns to be called with each node, once it has run
function lastUse(nodes: readonly Node[], finished: (leaf: Tensor) => void): (node: Node) => void {
  const uses = new Map<Tensor, number>();
  for (const node of nodes) for (const leaf of node.leaves()) uses.set(leaf, (uses.get(leaf) ?? 0) + 1);
  return (node) => {
    for (const leaf of node.leaves()) {
      const left = uses.get(leaf)! - 1;
      uses.set(leaf, left);
      if (left === 0) finished(leaf);
    }
  };
}

// Nodes in reverse order of creation, which is a topological order: an operation is newer than its inputs.
function reachable(root: Node): Node[] {
  const seen = new Set<Node>([root]);
  const stack = [root];
  for (let node = stack.pop(); node; node = stack.pop()) {
    for (const { edge } of node.inputs) {
      if (edge && !seen.has(edge.node)) {
        seen.add(edge.node);
        stack.push(edge.node);
      }
    }
  }
  return [...seen].sort((a, b) => b.order - a.order);
}

function propagate(node: Node): void {
  const { saved, derivative } = node;
  if (!saved) {
    throw new CodedError(
      'ERR_NO_GRADIENT',
      `backward: the graph through ${node.name} was differentiated before; run the forward again`,
    );
  }
  const grads = node.pendingGrads;
  if (grads.some((grad) => grad !== null)) {
    if (!derivative) throw new CodedError('ERR_NO_GRADIENT', `${node.name} has no derivative`);
    for (const x of node.unchanged) {
      if (x.changes.count === x.count) continue;
      throw new CodedError(
        'ERR_NO_GRADIENT',
        `backward: ${describe(x)}, which the derivative of ${node.name} needs as it was, was changed in place; change it after backward`,
      );
    }
    const taken: NativeTensor[] = [];
    try {
      const results = derivative(grads, saved, {
        needs: node.inputs.map(({ edge, leaf }) => edge !== null || leaf !== null),
        into: (i) => node.inputs[i]?.leaf?.grad?.handle ?? null,
        take: (i) => {
          const grad = takePending(node.inputs[i]!);
          if (grad) taken.push(grad);
          return grad;
        },
      });
      results.forEach((result, i) => {
        if (result !== null && result !== ACCUMULATED) deliver(node.inputs[i]!, result);
      });
    } finally {
      for (const grad of taken) native().release(grad);
    }
  }
  node.releaseSaved();
  releaseGrads(node);
}

function releaseGrads(node: Node): void {
  for (const grad of node.pendingGrads) if (grad) native().release(grad);
  node.pendingGrads.fill(null);
}

function takePending({ edge }: Input): NativeTensor | null {
  if (!edge) return null;
  const grad = edge.node.pendingGrads[edge.index] ?? null;
  edge.node.pendingGrads[edge.index] = null;
  return grad;
}

// Takes ownership of `grad`.
function deliver(input: Input, grad: NativeTensor): void {
  if (input.edge) {
    const { node, index } = input.edge;
    const before = node.pendingGrads[index];
    if (before) {
      node.pendingGrads[index] = native().add(before, grad);
      native().release(before);
      native().release(grad);
    } else {
      node.pendingGrads[index] = grad;
    }
  } else if (input.leaf) {
    const leaf = input.leaf;
    if (leaf.grad) {
      native().accumulate(leaf.grad.handle, grad);
      native().release(grad);
    } else {
      // The handle may share its storage with another gradient, and this one will be changed in place.
      const owned = native().own(grad);
      native().release(grad);
      leaf.grad = keep(new Tensor(owned));
    }
  } else {
    native().release(grad);
  }
}

function gathering<T>(leaves: Set<Tensor>, body: () => T): T {
  const before = leavesRead;
  leavesRead = leaves;
  try {
    return body();
  } finally {
    leavesRead = before;
  }
}

/**
 * Activation checkpointing: runs `body` without saving its intermediates and runs it again when the gradient comes
 * back, trading time for memory. `body` must compute the same both times and depend on nothing that requires a
 * gradient but `inputs` and leaves.
 */
export function checkpoint(body: (...inputs: Tensor[]) => Tensor, ...inputs: Tensor[]): Tensor {
  checkFunction('checkpoint', 'body', body);
  checkTensors('checkpoint', inputs, 'inputs');
  if (!recording) return body(...inputs);
  const [output] = operation(
    'checkpoint',
    inputs,
    (context) => {
      const leaves = new Set<Tensor>();
      const result = gathering(leaves, () => noGrad(() => body(...inputs)));
      context.reaches(leaves);
      context.save(...inputs.map((input) => input.handle));
      const handle = native().retain(result.handle);
      if (!inputs.includes(result)) result.dispose();
      return [handle];
    },
    ([grad], saved, { needs }) => {
      const received: (NativeTensor | null)[] = saved.map(() => null);
      // Operations and not leaves, so that gradients meet in the same way as without recomputing.
      const again = saved.map((handle, i) => {
        if (!needs[i]) return keep(new Tensor(native().retain(handle!)));
        const derivative: Derivative = ([dx]) => {
          received[i] = native().retain(dx!);
          return [];
        };
        const copy = () => operation('checkpoint', [], () => [native().retain(handle!)], derivative, true);
        return keep(enableGrad(copy)[0]!);
      });
      const result = enableGrad(() => body(...again));
      const outer = keep(new Tensor(native().retain(grad!)));
      if (result.edge) backward(result, outer);
      for (const tensor of [outer, result, ...again]) tensor.dispose();
      return received;
    },
    true,
  );
  return output!;
}
