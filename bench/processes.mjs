// node bench/processes.mjs [--rate 1gbit] [--arch b32|b16|l14] [--frames 8] [--batch 2] [--steps 1] [--pairs 3]
//
// A training step in two processes: gradients that travel during the backward pass against gradients that travel behind
// it, in turn. Without --rate both are on this machine as it is (loopback), which anybody may do. With --rate the processes
// stand on two machines, network namespaces joined by a cable that carries so much each way: that, and only that, needs root
// and iproute2 (ip, tc). Each process has half of the cores. The result goes to bench/results/processes.json, or with --rate
// to processes_cable.json: median seconds of a step alone (no gradients travel) and of both ways, and all of them in order;
// each is the median of --steps.
import { spawn } from 'node:child_process';
import { createRequire } from 'node:module';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { performance } from 'node:perf_hooks';
import { parseArgs } from 'node:util';
import { median, root, saveResult } from './machine.mjs';

const require = createRequire(import.meta.url);
const { values } = parseArgs({
  allowPositionals: true,
  options: {
    rate: { type: 'string' },
    arch: { type: 'string', default: 'b32' },
    frames: { type: 'string', default: '8' },
    batch: { type: 'string', default: '2' },
    steps: { type: 'string', default: '1' },
    pairs: { type: 'string', default: '3' },
  },
});
const archs = { b32: 'ViT-B/32', b16: 'ViT-B/16', l14: 'ViT-L/14' };

async function work() {
  const { XCLIP, ZOO } = require(join(root, 'dist/models'));
  const library = require(join(root, 'dist'));
  const { backward, crossEntropy, distributed, scope, synchronize, tensor } = library;
  const { AdamW } = require(join(root, 'dist/optim'));
  const [frames, batch, steps, pairs] = ['frames', 'batch', 'steps', 'pairs'].map((name) =>
    Number(values[name]),
  );
  const classes = 400;
  library.setDefaultDevice('cpu');
  const geometry = { ...ZOO[archs[values.arch]], arch: archs[values.arch], frames };
  const model = new XCLIP(geometry, { seed: 1 });
  model.freeze((name) => !/visual\.|mit|prompts/.test(name)); // the text tower, as in training
  const filled = (shape) =>
    tensor(
      Float32Array.from({ length: shape.reduce((a, b) => a * b) }, (_, i) => Math.sin(i * 0.7)),
      shape,
    );
  const pixels = filled([batch, frames, 3, geometry.imageSize, geometry.imageSize]);
  const text = filled([classes, geometry.embedDim]);
  const soft = tensor(new Float32Array(batch * classes).fill(1 / classes), [batch, classes]);
  const params = [...model.namedParameters()]
    .filter(([, p]) => p.requiresGrad)
    .map(([name, p]) => ({ name, tensor: p }));
  const optimizer = new AdamW([{ params, lr: 8e-6 }]);
  const trained = params.map((p) => p.tensor);
  const group = await distributed.ProcessGroup.join();
  const buckets = new distributed.GradientBuckets(trained, group);
  const run = { training: true, seed: 0, step: 0 };

  async function step(way) {
    const finished = way === 'during' ? (leaf) => buckets.finished(leaf) : undefined;
    await group.exchange(null);
    const start = performance.now();
    scope(() =>
      backward(
        crossEntropy(model.score(model.encodeVideo(pixels, run), text, run), soft),
        undefined,
        finished,
      ),
    );
    if (way !== 'alone') await buckets.finish();
    optimizer.step();
    optimizer.zeroGrad();
    await synchronize('cpu');
    return (performance.now() - start) / 1000;
  }

  for (const way of ['alone', 'during', 'behind']) await step(way); // what is made once
  const seconds = { alone: [], during: [], behind: [] };
  for (let pair = 0; pair < pairs; pair++) {
    for (const way of ['alone', 'during', 'behind']) {
      const times = [];
      for (let i = 0; i < steps; i++) times.push(await step(way));
      seconds[way].push(Number(median(times).toFixed(3)));
    }
  }
  if (group.rank === 0) {
    const middle = Object.fromEntries(Object.entries(seconds).map(([way, all]) => [way, median(all)]));
    const bytes = trained.reduce((sum, p) => sum + 4 * p.size, 0);
    const { rate = null, arch } = values;
    const row = { arch, frames, batch, rate, gradientMb: Math.round(bytes / 1e6), ...middle, seconds };
    console.log(JSON.stringify(row));
    console.log(saveResult(rate === null ? 'processes' : 'processes_cable', row));
  }
  await group.leave();
}

async function start() {
  const { freePort } = require(join(root, 'dist/distributed/launch'));
  const { twoMachines } = require(join(root, 'test/support/two_machines.cjs'));
  const machines = values.rate ? twoMachines({ rate: values.rate }) : null;
  try {
    const job = {
      WORLD_SIZE: '2',
      MASTER_ADDR: machines?.addresses[0] ?? '127.0.0.1',
      MASTER_PORT: String(await freePort()),
      OMP_NUM_THREADS: String(Math.max(1, Math.floor(availableParallelism() / 2))),
    };
    const children = [];
    for (const name of ['SIGINT', 'SIGTERM'])
      process.on(name, () => children.map((child) => child.kill(name)));
    const ends = [0, 1].map((rank) => {
      const words = [process.execPath, import.meta.filename, ...process.argv.slice(2)];
      const [program, ...rest] = machines ? machines.command(rank, words) : words;
      const child = spawn(program, rest, {
        stdio: 'inherit',
        env: { ...process.env, ...job, RANK: String(rank) },
      });
      children.push(child);
      return new Promise((resolve) => child.on('close', resolve));
    });
    if ((await Promise.all(ends)).some((status) => status !== 0)) process.exitCode = 1;
  } finally {
    machines?.remove();
  }
}

await (process.env.RANK === undefined ? start() : work());
