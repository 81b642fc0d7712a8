// A process of the jobs in process_group.test.ts: joins, does what its first argument names, prints a line of JSON.
const { readdirSync, readFileSync } = require('node:fs');
const { join } = require('node:path');
const { Worker } = require('node:worker_threads');
const {
  add,
  backward,
  captureGraph,
  distributed,
  memory,
  mul,
  resolveDevice,
  sum,
  synchronize,
  tensor,
} = require(join(__dirname, '../../dist'));

const values = async (x) => Array.from(await x.data());
const fill = (count, value) => tensor(new Float32Array(count).map((_, i) => value(i)));

/** The code of what `work` fails with, and the cause that the group knows, as which it is left. */
async function failureOf(group, work) {
  try {
    await work();
  } catch (error) {
    const cause = await group.causeOf(error);
    await group.leave(cause.message);
    return [error.code, cause.message];
  }
  return ['nothing failed'];
}

/** Whether a thread of this process has that name. */
function hasThread(name) {
  return readdirSync('/proc/self/task').some((thread) => {
    try {
      return readFileSync(`/proc/self/task/${thread}/comm`, 'utf8') === `${name}\n`;
    } catch {
      return false; // it has ended meanwhile
    }
  });
}

const tasks = {
  // Sizes below, at and above what travels together, and a size that no number of processes divides.
  async reduce(group) {
    const sizes = [1, 7, 3_000_001, 0, 65_536, 1 << 20];
    const list = sizes.map((size) => fill(size, (i) => (group.rank + 1) * (i % 1000)));
    group.allReduce(list, 1 / group.worldSize);
    const mean = (group.worldSize + 1) / 2;
    let wrong = 0;
    for (const x of list) {
      (await x.data()).forEach((value, i) => {
        if (Math.abs(value - mean * (i % 1000)) > 1e-3) wrong++;
      });
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
    const wide = tensor(BigInt64Array.of(1n, BigInt(group.rank)));
    // Copies of what was there before must not be taken for what is there now.
    const read = async () => (await floats.castCached('bfloat16').toArray()).slice(0, 2);
    await read();
    group.broadcast([floats, whole, wide], 1);
    const copies = await read();
    group.allReduce([floats], 2);
    return [...copies, ...(await read()), ...(await values(whole)), ...(await values(wide)).map(Number)];
  },

  async gradients(group) {
    const own = [1, 2, 3].map((value) => tensor([value], undefined, { requiresGrad: true }));
    // The first has a gradient everywhere, the second on rank 1 only, the third nowhere.
    const before = memory(own[0].device).liveTensors;
    own[0].grad = tensor([group.rank + 1]);
    if (group.rank === 1) own[1].grad = tensor([8]);
    await distributed.averageGradients(own, group);
    const means = await Promise.all(own.map(({ grad }) => (grad ? grad.item() : null)));
    // The sums let go of what they held a moment after they are there.
    const more = () => memory(own[0].device).liveTensors - before;
    for (let i = 0; i < 100 && more() > 2; i++) await new Promise((resolve) => setTimeout(resolve, 20));
    return [...means, more()];
  },

  // Three buckets, two of them large. Nobody has a use for the first parameter; in each step one rank has none for the third.
  async buckets(group) {
    const sizes = [2, 2 ** 22 + 1, 3, 2 ** 22, 7]; // 2^22 elements fill a bucket
    const parameters = sizes.map((size) => fill(size, (i) => (i % 5) + 1));
    for (const parameter of parameters) parameter.requiresGrad = true;
    const buckets = new distributed.GradientBuckets(parameters, group);
    const told = [];
    const early = []; // buckets that travel before the backward pass has ended
    const results = [];
    const send = group.startAllReduce.bind(group);
    let sent = 0;
    group.startAllReduce = (...given) => {
      sent++;
      send(...given);
    };
    for (let step = 0; step < 2; step++) {
      const used = parameters.filter((_, i) => i > 0 && (i !== 2 || group.rank === step));
      const loss = used.map((p) => mul(sum(p), group.rank + 1 + step)).reduce((a, b) => add(a, b));
      backward(loss, undefined, (leaf) => {
        told.push(parameters.indexOf(leaf));
        buckets.finished(leaf);
      });
      early.push(sent);
      await buckets.finish();
      sent = 0;
      for (const { grad, size } of parameters) {
        const all = grad && (await grad.data());
        results.push(all && [all.length === size && all.every((x) => x === all[0]), all[0]]);
      }
      for (const parameter of parameters) parameter.grad = null;
    }
    return { told, early, results };
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

  // Rank 1 goes without a word while the others are in a collective that runs beside what they compute.
  async dieBeside(group) {
    const x = fill(10_000_000, () => 1);
    await synchronize();
    await group.exchange(null);
    if (group.rank === 1) process.kill(process.pid, 'SIGKILL');
    for (let i = 0; i < 100; i++) group.startAllReduce([x]);
    const own = mul(tensor([2]), 3);
    const product = await own.item();
    const cause = await failureOf(group, async () => {
      group.wait([x]);
      await x.data();
    });
    console.log(JSON.stringify({ rank: group.rank, result: [product, ...cause] }));
    process.exit(1);
  },

  // A recording is refused and breaks nothing.
  async recorded(group) {
    const x = fill(3, () => 1);
    let refused;
    try {
      await captureGraph(() => group.allReduce([x]));
    } catch (error) {
      refused = [error.code, error.message];
    }
    group.allReduce([x]);
    return [...refused, ...(await values(x))];
  },

  // A wait that cannot be queued lets go of nothing, since what it was to wait for may still run.
  async waitInVain(group) {
    const [x, other] = [fill(1000, () => 1), tensor([2])];
    await synchronize();
    const before = memory(x.device).liveTensors;
    group.startAllReduce([x]);
    const { native } = require(join(__dirname, '../../dist/native/load'));
    native().beginRecording(x.device);
    group.wait([x]);
    let refused;
    try {
      native().endRecording(x.device);
    } catch (error) {
      refused = error.code;
    }
    x.dispose();
    const held = memory(other.device).liveTensors;
    group.wait([other]);
    return [refused, held - before, memory(other.device).liveTensors - before];
  },

  // Rank 1 stays but never takes part.
  async late(group) {
    const x = fill(1000, () => 1);
    const result = await failureOf(group, async () => {
      if (group.rank !== 1) {
        group.startAllReduce([x]);
        group.allReduce([x]);
      }
      await (group.rank === 1 ? group.exchange(null) : x.data());
    });
    // What the group failed of is said once.
    const after = await mul(tensor([2]), 3).item();
    console.log(JSON.stringify({ rank: group.rank, result: [...result, after] }));
    process.exit(1);
  },

  // Rank 1 takes no part in a collective that rank 0 leaves without having waited for it.
  async leaveFailed(group) {
    const result = await failureOf(group, () => {
      if (group.rank === 1) return group.exchange(null);
      group.startAllReduce([fill(1000, () => 1)]);
      return group.leave();
    });
    console.log(JSON.stringify({ rank: group.rank, result }));
    process.exit(1);
  },

  // Leaves a collective that nobody has waited for. What it held must be free when it has ended, and must not when it
  // has not.
  async leaveBeside(group) {
    const x = fill(1000, () => 1);
    await synchronize();
    const before = memory(x.device).liveTensors;
    group.startAllReduce([x]);
    x.dispose();
    const held = memory(x.device).liveTensors;
    await group.exchange(null); // both have begun
    const reason = process.env.EMULATION_NCCL_STUCK ? 'it has had enough' : null;
    await group.leave(reason);
    const left = memory(resolveDevice()).liveTensors;
    console.log(JSON.stringify({ rank: group.rank, result: [held - before, left - before] }));
    process.exit(0);
  },

  // The job is closed while another thread is within the call that begins a collective.
  async closeDuringLaunch(group) {
    const dist = join(__dirname, '../../dist');
    const { native } = require(`${dist}/native/load`);
    const thread = new Worker(
      `const { parentPort, workerData: dist } = require('node:worker_threads');
      const { tensor } = require(dist);
      const { native } = require(dist + '/native/load');
      const x = tensor([3, 4]);
      x.data().then(() => {
        parentPort.once('message', async () => parentPort.postMessage(Array.from(await x.data())));
        parentPort.postMessage(process.hrtime.bigint());
        native().allReduce([x.handle], 1);
      });`,
      { eval: true, workerData: dist },
    );
    const next = () => new Promise((resolve) => thread.once('message', resolve));
    const began = await next();
    while (!hasThread('slow collective')) await new Promise((resolve) => setTimeout(resolve, 5));
    native().commClose(resolveDevice());
    group.devices.clear(); // for which the group has nothing to do any more
    const closed = process.hrtime.bigint();
    const sums = next();
    thread.postMessage('closed');
    const result = { sums: await sums, waited: closed - began >= 1_000_000_000n }; // as long as the call takes
    await thread.terminate();
    return result;
  },

  // Rank 1 goes without a word while the others are in a collective.
  async die(group) {
    const x = fill(10_000_000, () => 1);
    await synchronize();
    await group.exchange(null);
    if (group.rank === 1) process.kill(process.pid, 'SIGKILL');
    const result = await failureOf(group, async () => {
      for (let i = 0; i < 100; i++) group.allReduce([x]);
      await x.data();
    });
    console.log(JSON.stringify({ rank: group.rank, result }));
    process.exit(1);
  },
};

async function main() {
  const patience = process.env.COLLECTIVE_TIMEOUT_MS;
  const group = await distributed.ProcessGroup.join(
    undefined,
    patience ? { collectiveTimeoutMs: Number(patience) } : {},
  );
  if (['missing', 'absent'].includes(process.argv[2])) {
    const result = await failureOf(group, async () => {
      if (process.argv[2] === 'missing' || group.rank === 0) return group.connect(resolveDevice());
      // Gives the addresses that the others wait for, and never connects.
      await group.exchange(Array(group.worldSize).fill(''));
      return group.exchange(null);
    });
    console.log(JSON.stringify({ rank: group.rank, result }));
    process.exit(1);
  }
  await group.connect(resolveDevice());
  const result = await tasks[process.argv[2]](group);
  console.log(JSON.stringify({ rank: group.rank, result }));
  await group.leave();
}

main().catch((error) => {
  console.error(error);
  process.exitCode = 1;
});
