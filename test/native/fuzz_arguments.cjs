// Calls every function of one addon with arguments of every kind, by a seed: node fuzz_arguments.cjs ADDON VIDEO SEED CALLS LAST [DEVICE]
// ADDON is a file, VIDEO a video to open (for the decode addon), LAST a file that names the call in progress, for a crash, DEVICE that of most tensors (cpu).
// Prints what it came to as JSON.
const { mkdtempSync, openSync, readFileSync, rmSync, writeSync } = require('node:fs');
const { tmpdir } = require('node:os');
const { join } = require('node:path');

const [addonFile, videoFile, seedText, callsText, lastFile, device = 'cpu'] = process.argv.slice(2);
const addon = require(addonFile);
const compute = 'signatures' in addon;
const folder = mkdtempSync(join(tmpdir(), 'fuzz-arguments-'));
const last = openSync(lastFile, 'w');
process.chdir(folder); // some of the texts are names of files to write

class Coded extends Error {
  constructor(code, message) {
    super(message);
    this.code = code;
  }
}
addon.setErrorClass(Coded);

let state = Number(seedText) >>> 0; // mulberry32
function random() {
  state = (state + 0x6d2b79f5) >>> 0;
  let t = Math.imul(state ^ (state >>> 15), 1 | state);
  t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
  return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
}
const pick = (list) => list[Math.floor(random() * list.length)];
const list = (most, make) => Array.from({ length: Math.floor(random() * (most + 1)) }, make);

const trap = new Error('thrown by an argument');
const throws = () => {
  throw trap;
};
const trapped = new Proxy({}, { get: throws, has: throws, ownKeys: throws, getPrototypeOf: throws });
const trappedArray = Object.defineProperty([1, 2, 3], 1, { get: throws });
const trappedOptions = Object.defineProperties(
  {},
  Object.fromEntries(
    ['path', 'width', 'frames', 'deadlineMs', 'onError'].map((key) => [key, { get: throws }]),
  ),
);
const detached = new Uint8Array(12);
structuredClone(detached.buffer, { transfer: [detached.buffer] });
const long = new Array(2 ** 32 - 1);

// What no parameter wants, and numbers at the ends of what one might.
const odd = [
  undefined,
  null,
  Number.NaN,
  -1,
  2 ** 31,
  2 ** 53,
  -(2 ** 63),
  Number.POSITIVE_INFINITY,
  0.5,
  '',
  'x',
  '\0',
  true,
  Symbol('s'),
  10n,
  {},
  [],
  [[]],
  [undefined],
  [Number.NaN],
  [-1],
  [2 ** 40],
  [2 ** 53],
  new Array(1e5),
  long,
  new Array(100).fill(1),
  trapped,
  trappedArray,
  trappedOptions,
  new Proxy([1, 2], {}),
  Object.create(null),
  throws,
  class {},
  new Date(0),
  /x/,
  new Map(),
  Promise.resolve(),
  new Uint8Array(0),
  detached,
  detached.buffer,
  new Float64Array(3),
  new Uint8Array(new SharedArrayBuffer(12)),
  new DataView(new ArrayBuffer(8)),
  new BigInt64Array(2),
  'a'.repeat(1e5),
];
const dtypes = ['float32', 'bfloat16', 'float16', 'int64', 'int32', 'uint8'];
const sizes = () => pick([0, 1, 2, 3, 4, 8]);
const names =
  'add sub mul div max min maximum minimum pow equal greater less sum mean relu exp log sqrt quick_gelu gelu sigmoid tanh silu none neg abs square sin cos';
const number = () => pick([0, 1, 2, 3, 4, 8, 16, 32, 0.1, 1e-5, -1, -2]);
const deadline = () => pick([1, 50, 10000]);

// Handles that calls gave are arguments of later ones.
const handles = { tensor: [], video: [], encoder: [], token: [], gone: [] };
function newTensor() {
  const shape = list(4, sizes);
  const dtype = pick(dtypes);
  const width = { float32: 4, bfloat16: 2, float16: 2, int64: 8, int32: 4, uint8: 1 }[dtype];
  const bytes = new Uint8Array(shape.reduce((a, b) => a * b, 1) * width);
  if (random() < 0.3) {
    for (let i = 0; i < bytes.length; i++) bytes[i] = Math.floor(random() * 256);
  }
  return addon.tensorFromHost(bytes, shape, dtype, device);
}
const tensor = () => (random() < 0.05 && handles.gone.length > 0 ? pick(handles.gone) : pick(handles.tensor));
const pixels = () => new Uint8Array(pick([0, 12, 3 * 16 * 16, 3 * 64 * 48, 2 * 3 * 16 * 16]));
const plan = () => ({
  frames: list(3, sizes),
  resize: pick([null, [16, 16], [2, 2]]),
  crops: [[0, 0, pick([1, 16]), 16]],
  size: pick([1, 4, [4, 2]]),
  flip: random() < 0.5,
  gray: random() < 0.5,
  jitter: pick([null, [], [{ order: [0, 3], brightness: 1, contrast: 1, saturation: 1, hue: 0.1 }]]),
  mean: [0, 0, 0],
  std: [1, 1, 1],
});
const options = () =>
  pick([
    undefined,
    { deadlineMs: deadline() },
    { width: sizes(), height: 4 },
    { shortSide: 16 },
    { onError: pick(['skip', 'nearest', 'x']) },
    { threads: number() },
    { maxPixels: number() },
    { stream: number() },
  ]);
const encoding = () => ({
  width: 16,
  height: 16,
  fps: pick([25, 0]),
  codec: pick([undefined, 'h264', 'mpeg4', 'x']),
  gop: pick([undefined, 1, 0]),
});
const file = () => join(folder, `${Math.floor(random() * 4)}.mp4`);

const makers = {
  NativeTensor: tensor,
  number,
  boolean: () => random() < 0.5,
  string: () => pick(names.split(' ')),
  DType: () => pick(dtypes),
  DeviceType: () => pick([device, device, device, device === 'cpu' ? 'cuda' : 'cpu']),
  'readonly (NativeTensor)[]': () => list(3, tensor),
  'readonly (number)[]': () => list(4, sizes),
  'readonly (string)[]': () => list(2, () => 'x'),
  source: () =>
    pick([
      { path: videoFile },
      { path: file() },
      { data: pixels() },
      { path: videoFile, offset: number(), length: number() },
      { fd: number() + 1e6 },
    ]),
  options,
  encoding,
  plan,
  pixels,
  file,
  video: () => pick(handles.video),
  encoder: () => pick(handles.encoder),
  token: () => pick([undefined, pick(handles.token)]),
  indices: () => Int32Array.from(list(3, number)),
  out: () => pick([new Float32Array(3 * 4 * 4), new Float32Array(3), pixels()]),
  deadline,
  odd: () => pick(odd),
};

function make(type) {
  if (random() < 0.12) return pick(random() < 0.2 ? Object.values(handles).flat() : odd);
  if (type.endsWith(' | null')) return random() < 0.5 ? null : make(type.slice(0, -7));
  const nullable = /^readonly \((.*) \| null\)\[\]$/.exec(type);
  if (nullable) return list(3, () => make(`${nullable[1]} | null`));
  return (makers[type] ?? (() => pick(odd)))();
}

// Parameters by name of function. What changes the process for good (which device) or waits for other processes is left
// out where its arguments are right: comm_open listens, comm_connect waits.
function parameters() {
  if (!compute) {
    return {
      openVideo: ['source', 'options', 'token'],
      videoInfo: ['video'],
      videoDamage: ['video'],
      closeVideo: ['video'],
      readFrames: ['video', 'indices', 'pixels', 'deadline', 'token'],
      runPlan: ['video', 'plan', 'out', 'number', 'deadline', 'token'],
      runPlanOnFrames: ['pixels', 'number', 'number', 'plan', 'out', 'number'],
      encodeVideo: ['file', 'encoding', 'pixels', 'token'],
      openEncoder: ['file', 'encoding'],
      writeFrames: ['encoder', 'pixels', 'token'],
      finishEncoder: ['encoder'],
      closeEncoder: ['encoder'],
      createCancelToken: [],
      cancel: ['token'],
      setWorkerCount: ['number'],
      counters: [],
    };
  }
  const table = {
    tensorFromHost: ['out', 'readonly (number)[]', 'DType', 'DeviceType'],
    describe: ['NativeTensor'],
    release: ['NativeTensor'],
    read: ['NativeTensor'],
    synchronize: ['DeviceType'],
    memory: ['DeviceType'],
    takeProfile: ['DeviceType'],
    deviceReport: ['DeviceType'],
    kernels: [],
    beginRecording: ['DeviceType', 'odd'],
    endRecording: ['DeviceType'],
    replay: ['odd'],
    releaseRecording: ['odd'],
  };
  for (const [name, signature] of Object.entries(addon.signatures)) {
    const inside = signature.slice(1, signature.lastIndexOf(') =>'));
    table[name] = inside === '' ? [] : inside.split(', ').map((one) => one.slice(one.indexOf(': ') + 2));
  }
  table.commOpen = ['DeviceType', 'odd', 'odd', 'string', 'odd'];
  table.selectDevice = ['odd', 'odd'];
  return table;
}

const counts = { calls: 0, worked: 0, refused: 0, codes: {}, faults: [] };
function refuse(call, error) {
  if (error === trap) counts.refused++;
  else if (error instanceof Coded && /^ERR_[A-Z_]+$/.test(error.code) && error.code !== 'ERR_INTERNAL') {
    counts.refused++;
    counts.codes[error.code] = (counts.codes[error.code] ?? 0) + 1;
  } else counts.faults.push(`${call}: ${error?.stack ?? String(error)}`);
}

function shown(value) {
  if (Array.isArray(value))
    return value.length > 8
      ? `array of ${value.length}`
      : value === trappedArray
        ? 'trap[]'
        : `[${value.map(shown)}]`;
  if (typeof value === 'string') return JSON.stringify(value.slice(0, 20));
  if (typeof value === 'object' && value !== null) {
    if (value === trapped || value === trappedOptions) return 'trap';
    if (ArrayBuffer.isView(value)) return `${value.constructor.name}(${value.byteLength})`;
    for (const [kind, held] of Object.entries(handles))
      if (held.includes(value)) return describe(kind, value);
    return Object.getPrototypeOf(value) === Object.prototype
      ? `{${Object.entries(value).map(([k, v]) => `${k}: ${shown(v)}`)}}`
      : 'object';
  }
  return String(value);
}

function describe(kind, value) {
  if (kind !== 'tensor') return kind;
  const [dtype, , ...shape] = addon.describe(value);
  return `${dtype}[${shape}]`;
}

const released = new Set();
function keep(name, result) {
  if (Array.isArray(result)) for (const one of result) keep(name, one);
  else if (
    compute &&
    typeof result === 'object' &&
    result !== null &&
    Object.getPrototypeOf(result) !== Object.prototype
  ) {
    try {
      addon.describe(result);
      handles.tensor.push(result);
    } catch {}
  } else if (name === 'openVideo') handles.video.push(result);
  else if (name === 'openEncoder') handles.encoder.push(result);
  else if (name === 'createCancelToken') handles.token.push(result);
  for (const [kind, most] of [
    ['tensor', 60],
    ['video', 8],
    ['encoder', 4],
    ['token', 4],
    ['gone', 10],
  ]) {
    while (handles[kind].length > most) {
      const [old] = handles[kind].splice(Math.floor(random() * handles[kind].length), 1);
      if (kind === 'tensor') retire(old);
      if (kind === 'video') addon.closeVideo(old);
      if (kind === 'encoder') addon.closeEncoder(old);
    }
  }
}
function retire(handle) {
  if (!released.has(handle)) addon.release(handle);
  released.add(handle);
  handles.gone.push(handle);
}

async function main() {
  const table = parameters();
  const exported = Object.keys(addon).filter(
    (name) => typeof addon[name] === 'function' && name !== 'setErrorClass',
  );
  counts.missing = exported.filter((name) => !(name in table));
  if (compute) for (let i = 0; i < 60; i++) handles.tensor.push(newTensor());
  else {
    handles.video.push(
      await addon.openVideo({ path: videoFile }),
      await addon.openVideo({ path: videoFile }),
    );
    addon.closeVideo(handles.video[1]);
    handles.encoder.push(
      await addon.openEncoder(join(folder, 'kept.mp4'), { width: 16, height: 16, fps: 25 }),
    );
    handles.token.push(addon.createCancelToken());
  }
  const waiting = [];
  while (counts.calls < Number(callsText)) {
    const name = pick(exported);
    const words = table[name].map(make);
    if (random() < 0.05) words.length = Math.floor(random() * words.length); // too few
    if (random() < 0.05) words.push(pick(odd)); // too many
    const call = `${name}(${words.map(shown).join(', ')})`;
    writeSync(last, call.slice(0, 2000).padEnd(2000), 0);
    counts.calls++;
    try {
      const result = addon[name](...words);
      if (name === 'release') {
        handles.tensor = handles.tensor.filter((handle) => handle !== words[0]);
        released.add(words[0]);
        handles.gone.push(words[0]);
      }
      if (name === 'setThreads') addon.setThreads(2);
      if (name === 'setWorkerCount') addon.setWorkerCount(2);
      if (name === 'setSynchronous') addon.setSynchronous(device, false);
      if (result instanceof Promise) {
        waiting.push(
          result.then(
            (value) => {
              counts.worked++;
              keep(name, value);
            },
            (error) => refuse(call, error),
          ),
        );
      } else {
        counts.worked++;
        keep(name, result);
      }
    } catch (error) {
      refuse(call, error);
    }
    if (compute && random() < 0.2) {
      handles.tensor.push(newTensor());
      keep('', undefined);
    }
    if (counts.calls % 40 === 0) {
      if (device === 'cuda') {
        try {
          addon.endRecording(device); // what is recorded does not run
        } catch (error) {
          refuse('endRecording', error);
        }
      }
      // Kernels tell of indices outside a table here.
      if (compute) waiting.push(addon.synchronize(device).catch((error) => refuse('synchronize', error)));
      await Promise.all(waiting.splice(0));
    }
  }
  await Promise.all(waiting);
}

// Not resourceUsage().maxRSS, which starts at what the process that starts this one has in memory.
function peakMB() {
  if (process.platform !== 'linux') return Math.round(process.resourceUsage().maxRSS / 1024);
  const [, kB] = /^VmHWM:\s+(\d+) kB$/m.exec(readFileSync('/proc/self/status', 'utf8'));
  return Math.round(kB / 1024);
}

main()
  .then(() => {
    rmSync(folder, { recursive: true });
    process.stdout.write(JSON.stringify({ ...counts, rssMB: peakMB() }));
  })
  .catch((error) => {
    console.error(error);
    process.exitCode = 1;
  });
