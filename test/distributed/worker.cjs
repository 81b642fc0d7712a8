// A process of the jobs in process_group.test.ts: joins, does what its first argument names, prints a line of JSON.
const { join } = require('node:path');
const { distributed, tensor, synchronize } = require(join(__dirname, '../../dist'));

const values = async (x) => Array.from(await x.data());
const fill = (count, value) => tensor(Float32Array.from({ length: count }, (_, i) => value(i)));

const tasks = {
  // Sizes below, at and above what travels together, and a size that no number of processes divides.
  async reduce(group) {
    const sizes = [1, 7, 3_000_001, 0, 65_536, 1 << 20];
    const list = sizes.map((size) => fill(size, (i) => (group.rank + 1) * (i % 1000)));
    group.allReduce(list, 1 / group.worldSize);
    const mean = (group.worldSize + 1) / 2;
    let wrong = 0;
    for (const x of list) {
      for (const [i, value] of (await values(x)).entries())
        if (Math.abs(value - mean * (i % 1000)) > 1e-3) wrong++;
    }
    return { wrong, sizes: list.map((x) => x.size) };
  },

  // Sums whose last bits depend on their order must still be equal everywhere.
  async bits(group) {
    const x = fill(100_003, (i) => Math.sin(i * (group.rank + 1)) * 10 ** ((i * 7 + group.rank) % 7));
    group.allReduce([x]);
    const bytes = new Uint8Array((await x.data()).buffer);
    return require('node:crypto').createHash('sha256').update(bytes).digest('hex');
  },

  async broadcast(group) {
    const floats = fill(5, (i) => group.rank * 10 + i);
    const whole = tensor(new Int32Array([group.rank, 1]));
    group.broadcast([floats, whole], 1);
    return [...(await values(floats)), ...(await values(whole))];
  },

  async gradients(group) {
    const own = [1, 2, 3].map((value) => tensor([value], undefined, { requiresGrad: true }));
    // The first has a gradient everywhere, the second on rank 1 only, the third nowhere.
    own[0].grad = tensor([group.rank + 1]);
    if (group.rank === 1) own[1].grad = tensor([8]);
    await distributed.averageGradients(own, group);
    return Promise.all(own.map(({ grad }) => (grad ? grad.item() : null)));
  },

  async agree(group) {
    return [await group.first(group.rank + 5), await group.any(group.rank === 1), await group.any(false)];
  },

  async misuse(group) {
    const codes = [];
    const attempt = (work) => {
      try {
        work();
      } catch (error) {
        codes.push(error.code);
      }
    };
    attempt(() => group.allReduce([tensor(new Int32Array([1]))]));
    attempt(() => group.broadcast([tensor([1])], group.worldSize));
    await group.exchange(null);
    return codes;
  },

  // Rank 1 goes without a word while the others are in a collective.
  async die(group) {
    const x = fill(10_000_000, () => 1);
    await synchronize('cpu');
    if (group.rank === 1) process.kill(process.pid, 'SIGKILL');
    try {
      for (let i = 0; i < 100; i++) group.allReduce([x]);
      await x.data();
      return 'nothing failed';
    } catch (error) {
      const cause = await group.causeOf(error);
      console.log(JSON.stringify({ rank: group.rank, result: [error.code, cause.message] }));
      await group.leave(cause.message);
      process.exit(1);
    }
  },
};

async function main() {
  const group = await distributed.ProcessGroup.join();
  const result = await tasks[process.argv[2]](group);
  console.log(JSON.stringify({ rank: group.rank, result }));
  await group.leave();
}

main().catch((error) => {
  console.error(error);
  process.exitCode = 1;
});
