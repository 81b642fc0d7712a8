// What the cache of host memory keeps, in a process of its own: the tensors of other tests would lie between these.
const { join } = require('node:path');
const { emptyCache, full, memory, synchronize } = require(join(__dirname, '../../dist'));

const MiB = 1 << 20;
const filled = (bytes) => full([bytes / 4], 0);
const reserved = () => memory().reservedBytes;

function otherSizes() {
  const before = reserved();
  for (const size of [6, 2, 3, 24, 5, 12]) {
    const tensors = Array.from({ length: 24 / size }, () => filled(size * MiB));
    for (const x of tensors) x.dispose();
  }
  return reserved() - before;
}

async function repeated() {
  const repeat = async () => {
    const kept = filled(9 * MiB);
    const tensors = Array.from({ length: 30 }, (_, i) => filled((1 + (i % 7)) * MiB + 4 * i));
    for (const x of tensors) x.dispose();
    await synchronize();
    const after = filled(40 * MiB);
    for (const x of [kept, after]) x.dispose();
    await synchronize();
  };
  for (let i = 0; i < 2; i++) await repeat();
  const before = reserved();
  for (let i = 0; i < 6; i++) await repeat();
  return reserved() - before;
}

async function longUnused() {
  const before = reserved();
  filled(256 * MiB).dispose();
  await synchronize();
  const held = reserved() - before;
  for (let i = 0; i < 40_000; i++) {
    full([1], 0).dispose();
    if (i % 1000 === 0) await synchronize();
  }
  return [held, reserved() - before];
}

async function main() {
  const cases = { otherSizes, repeated, longUnused };
  const bytes = {};
  for (const [name, measure] of Object.entries(cases)) {
    await synchronize();
    emptyCache();
    bytes[name] = await measure();
  }
  console.log(JSON.stringify(bytes));
}

main();
