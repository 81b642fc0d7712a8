// node bench/ops.mjs [linear | attention]: the rate of the heavy ops at the shapes of the models, per core, kept in
// bench/results/<suite>_cpu.json. One thread, measured by processor time, so that other work on the machine does not
// count; the best of several runs. The floor is the rate of one large product in the same dtype. How the ops share the
// cores shows in the whole model (bench/model.mjs).
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { root, saveResult } from './machine.mjs';

const native = createRequire(import.meta.url)(join(root, 'build/Release/compute.node'));
const runs = 5;
native.setThreads(1);

function random(shape, dtype) {
  const size = shape.reduce((a, b) => a * b, 1);
  // Any spread values will do: a fixed recurrence keeps runs alike.
  let state = 1;
  const data = Float32Array.from({ length: size }, () => {
    state = (state * 48271) % 2147483647;
    return state / 2147483647 - 0.5;
  });
  const wide = native.tensorFromHost(data, shape, 'float32', 'cpu');
  if (dtype === 'float32') return wide;
  const narrow = native.cast(wide, dtype);
  native.release(wide);
  return narrow;
}

/** Processor milliseconds of one call, the best of `runs` batches of calls that take 20 ms or more. */
async function time(call) {
  const batch = async (count) => {
    const start = process.cpuUsage();
    for (let i = 0; i < count; i++) {
      for (const handle of [call()].flat()) if (handle) native.release(handle);
    }
    await native.synchronize('cpu');
    const { user, system } = process.cpuUsage(start);
    return (user + system) / 1000 / count;
  };
  await batch(1);
  const count = Math.max(1, Math.ceil(20 / (await batch(1))));
  let best = Number.POSITIVE_INFINITY;
  for (let i = 0; i < runs; i++) best = Math.min(best, await batch(count));
  return best;
}

function row(labels, flops, milliseconds, floor) {
  const gflops = flops / milliseconds / 1e6;
  const result = { ...labels, ms: Number(milliseconds.toFixed(3)), gflops: Math.round(gflops) };
  if (floor) result.ofFloor = Number((gflops / floor).toFixed(2));
  console.log(JSON.stringify(result));
  return result;
}

async function floorOf(dtype) {
  const [x, weight] = [random([2048, 2048], dtype), random([2048, 2048], dtype)];
  const ms = await time(() => native.linearForward(x, weight, null, null, 'none', false));
  return (2 * 2048 ** 3) / ms / 1e6;
}

// B/32 8f inference (400 rows), B/16 8f inference (1576) and B/32 8f training with batch 4 (1600).
async function linear() {
  const rows = [];
  const floors = {};
  for (const dtype of ['float32', 'bfloat16']) {
    const floor = await floorOf(dtype);
    floors[dtype] = Math.round(floor);
    for (const count of [400, 1576, 1600]) {
      for (const [out, width] of [
        [2304, 768],
        [768, 768],
        [3072, 768],
        [768, 3072],
      ]) {
        const [x, weight, dy] = [
          random([count, width], dtype),
          random([out, width], dtype),
          random([count, out], dtype),
        ];
        const bias = random([out], 'float32');
        const calls = {
          forward: () => native.linearForward(x, weight, bias, null, 'none', false),
          'forward, residual': () => native.linearForward(x, weight, bias, dy, 'none', false),
          'forward, QuickGELU': () => native.linearForward(x, weight, bias, null, 'quick_gelu', false),
          'forward, QuickGELU with slope': () =>
            native.linearForward(x, weight, bias, null, 'quick_gelu', true),
          'backward, input': () => native.linearBackwardInput(dy, weight, null),
          'backward, weight': () => native.linearBackwardWeight(dy, x, null, false, null)[0],
        };
        for (const [call, run] of Object.entries(calls)) {
          if (call.includes('QuickGELU') && out !== 3072) continue;
          if (call.startsWith('backward') && count !== 1600) continue;
          rows.push(
            row(
              { dtype, call, rows: count, out, in: width },
              2 * count * out * width,
              await time(run),
              floor,
            ),
          );
        }
        for (const handle of [x, weight, dy, bias]) native.release(handle);
      }
    }
  }
  console.log(saveResult('linear_cpu', { threads: 1, floorGflops: floors, rows }));
}

// Vision towers at 51, 198, 258 and 578 tokens (the last a key only), text, and messages across frames.
async function attention() {
  const rows = [];
  const floor = await floorOf('float32'); // the arithmetic is float32 in both dtypes
  for (const dtype of ['float32', 'bfloat16']) {
    for (const [batch, tokens, heads, causal] of [
      [8, 51, 12, false],
      [32, 51, 12, false],
      [8, 198, 12, false],
      [8, 258, 16, false],
      [4, 578, 16, false],
      [8, 77, 8, true],
      [8, 16, 12, false],
    ]) {
      const queries = tokens > 50 && !causal ? tokens - 1 : tokens;
      const qkv = random([batch, tokens, 192 * heads], dtype);
      const dout = random([batch, queries, 64 * heads], dtype);
      const [out, logSum] = native.selfAttentionForward(qkv, heads, queries, causal);
      const labels = { dtype, batch, tokens, heads, causal };
      const flops = 4 * batch * heads * queries * tokens * 64;
      const forward = await time(() => native.selfAttentionForward(qkv, heads, queries, causal));
      rows.push(row({ call: 'forward', ...labels }, flops, forward, floor));
      const backward = await time(() =>
        native.selfAttentionBackward(dout, qkv, out, logSum, heads, queries, causal),
      );
      rows.push(row({ call: 'backward', ...labels }, 2.5 * flops, backward, floor));
      for (const handle of [qkv, dout, out, logSum]) native.release(handle);
    }
  }
  console.log(saveResult('attention_cpu', { threads: 1, floorGflops: Math.round(floor), rows }));
}

const suites = { linear, attention };
const chosen = process.argv.slice(2);
const unknown = chosen.find((name) => !(name in suites));
if (unknown !== undefined) {
  console.error(`unknown suite '${unknown}': use ${Object.keys(suites).join(' or ')}`);
  process.exit(1);
}
for (const name of chosen.length ? chosen : Object.keys(suites)) await suites[name]();
