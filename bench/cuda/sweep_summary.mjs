// What `cuda_bench sweep` says of the rule that chooses a product's tile: how much slower its choice is than the fastest
// one, product by product, and over all.
//
//   node bench/cuda/sweep_summary.mjs SWEEP.jsonl
import { readFileSync } from 'node:fs';

const described = /^(forward|input|weight) (.+) cluster (\d) slabs (\d+)( apart)?( \(rule\))?$/;

/** Products of a sweep: `{product, tried: [{choice, microseconds, tflops, rule}]}`, the fastest first. */
export function products(text) {
  const found = new Map();
  for (const line of text.split('\n').filter((line) => line.startsWith('{'))) {
    const { suite, name, sizes, microseconds, tflops } = JSON.parse(line);
    const [, kind, tile, cluster, slabs, apart = '', rule] = described.exec(name ?? '') ?? [];
    if (!kind) continue; // the device, and its copy bandwidth
    const product = `${suite.replace('sweep ', '')} ${kind} ${sizes.m} x ${sizes.n} x ${sizes.k}`;
    const choice = `${tile}, cluster ${cluster}, ${slabs} slabs${apart}`;
    found.set(product, [
      ...(found.get(product) ?? []),
      { choice, microseconds, tflops, rule: Boolean(rule) },
    ]);
  }
  return [...found].map(([product, tried]) => ({
    product,
    tried: tried.sort((a, b) => a.microseconds - b.microseconds),
  }));
}

function main(file) {
  let sum = 0;
  let count = 0;
  for (const { product, tried } of products(readFileSync(file, 'utf8'))) {
    const [best] = tried;
    const rule = tried.find((one) => one.rule);
    if (!rule) {
      console.log(`${product}: the sweep ended before the rule's choice`);
      continue;
    }
    const loss = rule.microseconds / best.microseconds;
    sum += Math.log(loss);
    count += 1;
    const better = rule === best ? 'the fastest' : `${loss.toFixed(3)} x ${best.choice}`;
    console.log(
      `${product.padEnd(46)} ${rule.tflops.toFixed(0).padStart(4)} TFLOP/s by ${rule.choice}: ${better}`,
    );
  }
  if (count === 0)
    throw new Error(`${file} has no product with the rule's choice: not the output of cuda_bench sweep`);
  console.log(
    `the rule takes ${Math.exp(sum / count).toFixed(3)} of the fastest time, geometric mean of ${count} products`,
  );
}

try {
  main(process.argv[2]);
} catch (error) {
  console.error(`sweep_summary: ${error.message}`);
  process.exit(1);
}
