import { execFileSync } from 'node:child_process';
import { join } from 'node:path';
import { Philox } from '../../lib/base/philox';
import { emptyCache, synchronize } from '../../lib/native/device';
import { full, matmul, sum } from '../../lib/ops';
import { type Tensor, tensor } from '../../lib/tensor/tensor';
import { buildCli } from '../support/built_cli';

const MiB = 1 << 20;
const filled = (bytes: number, value = 0) => full([bytes / 4], value);
const written = (bytes: number, value = 0) => tensor(new Float32Array(bytes / 4).fill(value));

describe('bytes that a process has reserved', () => {
  let bytes: {
    otherSizes: number;
    repeated: number;
    longUnused: [number, number];
    longUnusedWritten: [number, number];
    underLimit?: string;
  };
  beforeAll(() => {
    buildCli();
    const stdout = execFileSync(process.execPath, [join(__dirname, 'host_memory.cjs')], {
      encoding: 'utf8',
      env: { ...process.env, NATIVE_DEVICE: 'cpu' },
    });
    bytes = JSON.parse(stdout);
  });

  test('memory of released tensors serves others of other sizes', () => {
    // A huge page at either end.
    expect(bytes.otherSizes).toBeLessThanOrEqual(28 * MiB);
  });

  test('what repeats takes nothing from the system', () => {
    expect(bytes.repeated).toBeLessThanOrEqual(2 * MiB);
  });

  test('memory that has long not been used goes back to the system', () => {
    const [held, kept] = bytes.longUnused;
    expect(held).toBeGreaterThanOrEqual(256 * MiB);
    expect(kept).toBeLessThanOrEqual(80 * MiB);
    // What the host wrote is kept by itself, up to as much again.
    const [heldWritten, keptWritten] = bytes.longUnusedWritten;
    expect(heldWritten).toBeGreaterThanOrEqual(256 * MiB);
    expect(keptWritten).toBeLessThanOrEqual(144 * MiB);
  });

  (process.platform === 'linux' ? test : test.skip)(
    'what the cache does not need is given back before memory is refused',
    () => {
      expect(bytes.underLimit).toBe('both granted');
    },
  );
});

test('blocks in use never overlap, whatever is released between them', async () => {
  const random = new Philox(3);
  const draw = (below: number) => random.integer(below);
  const live: { x: Tensor; value: number }[] = [];
  const check = async ({ x, value }: { x: Tensor; value: number }) => {
    const data = (await x.data()) as Float32Array;
    expect(data.every((element) => element === value)).toBe(true);
  };
  for (let i = 0; i < 250; i++) {
    if (live.length > 0 && (live.length > 24 || draw(3) === 0)) {
      const [gone] = live.splice(draw(live.length), 1);
      if (draw(4) === 0) await check(gone!);
      gone!.x.dispose();
      if (draw(20) === 0) emptyCache();
    } else {
      const size = 64 * (1 + draw(draw(2) === 0 ? 4096 : 40960));
      const host = draw(3) === 0;
      live.push({ x: host ? tensor(new Float32Array(size).fill(i)) : full([size], i), value: i });
    }
  }
  for (const one of live) {
    await check(one);
    one.x.dispose();
  }
});

test.each([
  ['a large block', 32 * MiB, filled],
  ['a large block that the host wrote', 32 * MiB, written],
  ['a small block', MiB / 16, filled],
])('%s that queued work still reads is neither written by the host nor given back', async (_, size, make) => {
  const data = new Float32Array(size / 4).fill(-1);
  for (let round = 0; round < 3; round++) {
    const [a, x] = [full([1024, 1024], 1), make(size, 1)];
    const busy = Array.from({ length: 4 }, () => matmul(a, a));
    const total = sum(x);
    for (const gone of [a, x, ...busy]) gone.dispose();
    emptyCache();
    const others = [1, 2, 4, 8, 16].map((parts) => tensor(data.subarray(0, data.length / parts)));
    expect(await total.item()).toBe(size / 4);
    for (const gone of [total, ...others]) gone.dispose();
  }
});

test('nor are the parts of such a block, and what it is joined with', async () => {
  await synchronize();
  emptyCache();
  // Two segments of 64 MiB, so that there is no other memory.
  const [a, idle, x] = [full([1024, 1024], 1), filled(16 * MiB), filled(44 * MiB, 1)];
  const busy = Array.from({ length: 4 }, () => full([1024, 1024], 0));
  const filler = filled(48 * MiB);
  idle.dispose();
  await synchronize();
  const data = new Float32Array(8 * MiB).fill(-1);
  const products = busy.map((gone) => {
    gone.dispose();
    return matmul(a, a);
  });
  const total = sum(x);
  x.dispose();
  const part = filled(8 * MiB);
  const other = tensor(data);
  expect(await total.item()).toBe(11 * MiB);
  for (const gone of [a, filler, total, part, other, ...products]) gone.dispose();
});

test('memory beyond what the machine has is refused with the sizes', () => {
  expect(() => full([2 ** 46], 0)).toThrow(/cannot allocate 281474976710656 bytes \(\d+ are in use\)/);
});
