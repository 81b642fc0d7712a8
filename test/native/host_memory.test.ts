import { Philox } from '../../lib/base/philox';
import { emptyCache, memory, synchronize } from '../../lib/native/device';
import { full, matmul, sum } from '../../lib/ops';
import { type Tensor, tensor } from '../../lib/tensor/tensor';

const MiB = 1 << 20;
const filled = (bytes: number, value = 0) => full([bytes / 4], value);
const reserved = () => memory().reservedBytes;

beforeEach(async () => {
  await synchronize();
  emptyCache();
});

test('memory of released tensors serves others of other sizes', () => {
  const before = reserved();
  for (const size of [6, 2, 3, 24, 5, 12]) {
    const tensors = Array.from({ length: 24 / size }, () => filled(size * MiB));
    for (const x of tensors) x.dispose();
  }
  // A huge page at either end.
  expect(reserved() - before).toBeLessThanOrEqual(28 * MiB);
});

test('what repeats takes nothing from the system', async () => {
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
  expect(reserved() - before).toBeLessThanOrEqual(2 * MiB);
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

test('memory that queued work still reads is not written by the host', async () => {
  for (let round = 0; round < 5; round++) {
    const [a, x] = [full([1024, 1024], 1), filled(32 * MiB, 1)];
    const busy = Array.from({ length: 4 }, () => matmul(a, a));
    const total = sum(x);
    for (const gone of [a, x, ...busy]) gone.dispose();
    const written = [32, 16, 8, 4, 2].map((size) => tensor(new Float32Array((size * MiB) / 4).fill(-1)));
    expect(await total.item()).toBe(8 * MiB);
    for (const gone of [total, ...written]) gone.dispose();
  }
});

test('memory that has long not been used goes back to the system', async () => {
  const before = reserved();
  filled(256 * MiB).dispose();
  await synchronize();
  expect(reserved() - before).toBeGreaterThanOrEqual(256 * MiB);
  for (let i = 0; i < 40_000; i++) {
    full([1], 0).dispose();
    if (i % 1000 === 0) await synchronize();
  }
  expect(reserved() - before).toBeLessThanOrEqual(80 * MiB);
});

test('memory beyond what the machine has is refused with the sizes', () => {
  expect(() => full([2 ** 46], 0)).toThrow(/cannot allocate 281474976710656 bytes \(\d+ are in use\)/);
});
