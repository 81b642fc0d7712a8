// Makes the measured table of products, cuda/gemm/measured_tiles.inc, of what `cuda_bench sweep` found on cards:
//
//   node bench/cuda/tile_table.mjs SWEEP.jsonl ... >cuda/gemm/measured_tiles.inc
//
// Give the sweeps of all cards that the table is to cover, a later one replacing what an earlier one found. A product takes
// its fastest kernel, or the one that the estimates choose where that is at most a hundredth slower: so much two
// measurements of one kernel may differ.
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

const noise = 1.01;
const kinds = ['forward', 'input', 'weight'];

/** The table's text. @param {string[]} sweeps what cuda_bench printed, one card each */
export function tileTable(sweeps) {
  const rows = new Map();
  const cards = new Set();
  for (const text of sweeps) {
    let card;
    const products = new Map();
    for (const line of text.split('\n').filter((line) => line.startsWith('{'))) {
      const row = JSON.parse(line);
      if (row.device !== undefined) card = row;
      if (!row.suite?.startsWith('sweep ')) continue;
      if (card?.scale !== 'full')
        throw new Error('a sweep without its device, or not of scale full, is no measurement');
      const { m, n, k, kernels, tile, cluster, slabs, apart } = row.sizes;
      const kind = row.name.split(' ')[0];
      const key = [card.kernels, card.multiprocessors, kinds.indexOf(kind), m, n, k];
      if (key.some((part) => !Number.isInteger(part) || part < 0))
        throw new Error(`not a row of a sweep: ${line}`);
      const tried = {
        key,
        choice: [kernels, tile, cluster, slabs, apart === 1],
        microseconds: row.microseconds,
      };
      tried.rule = row.name.endsWith(' (rule)');
      products.set(key.join(), [...(products.get(key.join()) ?? []), tried]);
    }
    if (products.size === 0) throw new Error('no products: not the output of cuda_bench sweep');
    cards.add(card.device);
    for (const [key, tried] of products) {
      // The sweep was cut short where it had not come to what the estimates choose, and something else may be faster still.
      if (tried.some(({ rule }) => rule)) rows.set(key, fastest(tried));
    }
  }
  const order = (a, b) => a.key.map((part, i) => part - b.key[i]).find((difference) => difference !== 0) ?? 0;
  const lines = [...rows.values()]
    .sort(order)
    .map(({ key: [capability, multiprocessors, kind, ...mnk], choice }) => {
      const fields = [capability, multiprocessors, `ProductKind::${kinds[kind]}`, ...mnk];
      return `{${fields.join(', ')}, {${choice.join(', ')}}},`;
    });
  const source = cards.size > 0 ? `: ${[...cards].sort().join(', ')}` : '';
  return [
    '// Written by bench/cuda/tile_table.mjs from the sweeps of cuda_bench: do not edit.',
    `// capability, multiprocessors, kind, m, n, k, {kernels, tile, cluster, slabs, apart}${source}`,
    ...lines,
    '',
  ].join('\n');
}

function fastest(tried) {
  const best = tried.reduce((a, b) => (b.microseconds < a.microseconds ? b : a));
  const rule = tried.find((one) => one.rule);
  return rule.microseconds <= noise * best.microseconds ? rule : best;
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  try {
    process.stdout.write(tileTable(process.argv.slice(2).map((file) => readFileSync(file, 'utf8'))));
  } catch (error) {
    console.error(`tile_table: ${error.message}`);
    process.exit(1);
  }
}
