// What the cache of host memory keeps, in a process of its own: the tensors of other tests would lie between these.
const { execFileSync } = require('node:child_process');
const { readFileSync } = require('node:fs');
const { join } = require('node:path');
const { emptyCache, full, memory, synchronize, tensor } = require(join(__dirname, '../../dist'));

const MiB = 1 << 20;
const filled = (bytes) => full([bytes / 4], 0);
const written = (bytes) => tensor(new Float32Array(bytes / 4));
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

/** Bytes that are kept of what was in use at once: after the least number of allocations that they stay for, and after many more. */
async function longUnused(make) {
  const before = reserved();
  for (const x of Array.from({ length: 8 }, () => make(32 * MiB))) x.dispose();
  await synchronize();
  const after = async (allocations) => {
    for (let i = 0; i < allocations; i++) {
      full([1], 0).dispose();
      if (i % 1000 === 0) await synchronize();
    }
    return reserved() - before;
  };
  return [await after(16_200), await after(24_000)];
}

/** Two tensors for which the system has little left. */
async function underLimit() {
  const limit = (bytes) => execFileSync('prlimit', ['--pid', `${process.pid}`, `--as=${bytes}:`]);
  const size = () => 1024 * Number(/VmSize:\s+(\d+)/.exec(readFileSync('/proc/self/status', 'utf8'))[1]);
  const held = filled(192 * MiB);
  await synchronize();
  // Enough for what is asked, not for a segment as large as all before it.
  limit(size() + 160 * MiB);
  const first = filled(96 * MiB);
  limit('unlimited');
  first.dispose();
  await synchronize();
  // Enough once the cache has given back what the first one had.
  limit(size() + 64 * MiB);
  const second = filled(128 * MiB);
  limit('unlimited');
  for (const x of [held, second]) x.dispose();
  return 'both granted';
}

async function main() {
  const cases = {
    otherSizes,
    repeated,
    longUnused: () => longUnused(filled),
    longUnusedWritten: () => longUnused(written),
    ...(process.platform === 'linux' && { underLimit }),
  };
  const bytes = {};
  for (const [name, measure] of Object.entries(cases)) {
    await synchronize();
    emptyCache();
    bytes[name] = await measure();
  }
  console.log(JSON.stringify(bytes));
}

main();
