import { streamOf } from '../../lib/base/philox';
import { defaultDevice, memory, synchronize } from '../../lib/native/device';
import type { DType } from '../../lib/native/load';
import { cast, crossEntropy, div, dropPath, linear, mul, randomNormal, randomUniform } from '../../lib/ops';
import { AdamW, CosineSchedule, clipGradNorm, LossScaler } from '../../lib/optim';
import { StepGraph } from '../../lib/optim/step_graph';
import { backward, noGrad } from '../../lib/tensor/autograd';
import { keep, scope } from '../../lib/tensor/scope';
import { type Tensor, tensor, toNumbers } from '../../lib/tensor/tensor';

const onCuda = () => defaultDevice() === 'cuda';

/** A network of two layers with stochastic depth, its optimizer and the tensors that a recorded step reads. */
class Net {
  readonly parameters = [[16, 8], [16], [4, 16], [4]].map((shape, i) => leaf(shape, i));
  readonly optimizer: AdamW;
  readonly schedule: CosineSchedule;
  readonly scaler: LossScaler | null;
  readonly input = keep(tensor(new Float32Array(48), [6, 8]));
  readonly labels = keep(tensor(new Int32Array(6)));
  readonly stream = keep(tensor(new BigInt64Array(1), []));
  readonly loss = keep(tensor([0], []));
  readonly made = keep(tensor(new Int32Array([1]), []));
  /** A factor on the loss, infinite in micro-batches whose gradients are to overflow. */
  readonly boost = keep(tensor([1], []));

  constructor(
    private readonly accumulation: number,
    scaled: boolean,
    private readonly dtype: DType,
  ) {
    const [w1, b1, w2, b2] = this.parameters as [Tensor, Tensor, Tensor, Tensor];
    this.optimizer = new AdamW([
      { params: [['w1', w1] as const, ['w2', w2] as const], lr: 1e-2, weightDecay: 0.1 },
      { params: [['b1', b1] as const, ['b2', b2] as const], lr: 3e-2 },
    ]);
    this.schedule = new CosineSchedule(this.optimizer, { totalSteps: 12, warmupSteps: 2 });
    this.scaler = scaled ? new LossScaler({ scale: 64, growthInterval: 2 }) : null;
  }

  /** Micro-batch `step` onto the device. */
  load(step: number): void {
    scope(() => {
      this.input.assign(randomNormal([6, 8], { seed: 5, stream: step }));
      this.labels.assign(tensor(Int32Array.from([0, 1, 2, 3, 1, step % 4])));
      this.stream.assign(tensor(BigInt64Array.of(BigInt(streamOf(step, 0))), []));
      this.boost.assign(tensor([this.scaler && step === 5 ? Number.POSITIVE_INFINITY : 1], []));
    });
  }

  forward(): Tensor {
    return scope(() => {
      const [w1, b1, w2, b2] = this.parameters as [Tensor, Tensor, Tensor, Tensor];
      const hidden = linear(cast(this.input, this.dtype), w1, b1, { activation: 'quick_gelu' });
      const kept = dropPath(hidden, { rate: 0.4, seed: 9, stream: 1, offset: this.stream, samples: 3 });
      return crossEntropy(linear(kept, w2, b2), this.labels);
    });
  }

  accumulate = (): void => {
    scope(() => {
      const loss = this.forward();
      noGrad(() => this.loss.assign(loss));
      const scaled = this.scaler ? mul(mul(loss, this.boost), this.scaler.scale) : loss;
      backward(this.accumulation === 1 ? scaled : div(scaled, this.accumulation));
    });
  };

  update = (): void => {
    scope(() => {
      const finite = this.scaler?.unscale(this.optimizer.parameters()) ?? null;
      if (finite) this.made.assign(finite);
      clipGradNorm(this.optimizer.parameters(), 0.5)?.dispose();
      this.optimizer.apply({ when: finite });
    });
  };

  /** `updates` updates; from number `from` on as recorded work. Returns all that can be seen of them. */
  async train(updates: number, from: number): Promise<unknown[]> {
    const seen: unknown[] = [];
    let graph: StepGraph | null = null;
    for (let update = 0; update < updates; update++) {
      // A look at the network before the recording, as an evaluation has: it leaves a current copy of each weight.
      if (update === 1) noGrad(() => this.forward()).dispose();
      // A weight that others change between updates: the recorded work reads its 16-bit copy.
      if (update === 4) scope(() => this.parameters[0]!.assign(mul(this.parameters[0]!.detach(), 0.5)));
      if (update === from) graph = await StepGraph.record(this, { accumulation: this.accumulation });
      for (let micro = 0; micro < this.accumulation; micro++) {
        this.load(update * this.accumulation + micro);
        if (graph) graph.accumulate();
        else this.accumulate();
        seen.push(await this.loss.item());
      }
      if (graph) {
        graph.update();
      } else {
        this.optimizer.prepare();
        this.update();
        this.optimizer.zeroGrad();
      }
      this.schedule.stepUpdate(update);
      seen.push(await this.made.item(), await this.scaler?.scale.item());
    }
    for (const p of this.parameters) seen.push(toNumbers('float32', await p.data()));
    const state = (await this.optimizer.stateDict()).get('state') as Map<number, Map<string, unknown>>;
    seen.push([...state.values()].map((own) => own.get('step')));
    graph?.dispose();
    return seen;
  }

  dispose(): void {
    const { input, labels, stream, loss, made, boost } = this;
    for (const own of [input, labels, stream, loss, made, boost, ...this.parameters]) own.dispose();
    this.optimizer.dispose();
    this.scaler?.dispose();
  }
}

function leaf(shape: number[], stream: number): Tensor {
  const values = keep(randomUniform(shape, { seed: 4, stream, low: -0.4, high: 0.4 }));
  values.requiresGrad = true;
  return values;
}

type Case = { accumulation: number; scaled: boolean; dtype: DType };

async function trained({ accumulation, scaled, dtype }: Case, from: number): Promise<unknown[]> {
  const net = new Net(accumulation, scaled, dtype);
  const seen = await net.train(7, from);
  net.dispose();
  return seen;
}

const cases: (Case & { name: string })[] = [
  { name: 'one micro-batch', accumulation: 1, scaled: false, dtype: 'float32' },
  { name: 'three micro-batches in bfloat16', accumulation: 3, scaled: false, dtype: 'bfloat16' },
  {
    name: 'two micro-batches, with a loss scale that grows and overflows',
    accumulation: 2,
    scaled: true,
    dtype: 'float32',
  },
];

test.each(cases)('replayed steps have the bits of those that run as they are: $name', async (item) => {
  const eager = await trained(item, Number.POSITIVE_INFINITY);
  if (item.scaled) {
    // Doubled after updates 0 and 1, overflowed in 2, doubled after 3 and 4, and again after 5 and 6.
    const scales = eager.filter((_, i) => i < 28 && i % 4 === 3);
    expect(scales).toEqual([64, 128, 64, 64, 128, 128, 256]);
    expect(eager.at(-1)).toEqual([6, 6, 6, 6]);
  }
  if (!onCuda()) {
    await expect(trained(item, 1)).rejects.toMatchObject({ code: 'ERR_DEVICE' });
    return;
  }
  await synchronize();
  const before = memory().liveTensors;
  expect(await trained(item, 1)).toEqual(eager);
  expect(memory().liveTensors).toBe(before);
});
