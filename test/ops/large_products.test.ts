// Products large enough for Strassen's algorithm, which the CPU backend takes for the forward pass of linear layers with
// AVX-512 and AVX2, and for AMX, which multiplies parts of numbers.
import { execFileSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { type NativeTensor, native, packageRoot } from '../../lib/native/load';

const processor = existsSync('/proc/cpuinfo') ? readFileSync('/proc/cpuinfo', 'utf8') : '';
const [avx2, avx512, amx] = ['avx2', 'avx512bw', 'amx_bf16'].map((flag) => processor.includes(flag));
/** Instruction sets of this machine whose kernels take Strassen's algorithm. */
const dividing = [...(avx512 ? ['AVX512_CORE'] : []), ...(avx2 ? ['AVX2'] : [])];

const read = async (handle: NativeTensor) => new Float32Array(await native().read(handle));
const normals = (count: number, stream: number) =>
  read(native().randomNormal([count], 0, 1, 3, stream, 'cpu'));

interface Options {
  bias: boolean;
  residual: boolean;
  quickGelu: boolean;
}

interface Product extends Options {
  shape: readonly [rows: number, inputs: number, out: number];
}

/** y, and the slope of QuickGELU, by the kernels of an instruction set, which are chosen once in a process. */
async function linears(products: Product[], isa: string, strassen?: number): Promise<Float32Array[][]> {
  const addon = process.env.NATIVE_COMPUTE_PATH ?? join(packageRoot(), 'build/Release/compute.node');
  const script = `
    const native = require(process.argv[1]);
    const normals = (shape, stream) => native.randomNormal(shape, 0, 1, 3, stream, 'cpu');
    (async () => {
      const results = [];
      for (const { shape: [rows, inputs, out], bias, residual, quickGelu } of JSON.parse(process.argv[2])) {
        const made = native.linearForward(
          normals([rows, inputs], 1), normals([out, inputs], 2),
          bias ? normals([out], 4) : null, residual ? normals([rows, out], 5) : null,
          quickGelu ? 'quick_gelu' : 'none', quickGelu);
        const data = await Promise.all(made.filter((y) => y).map((y) => native.read(y)));
        results.push(data.map((y) => Buffer.from(y).toString('base64')));
      }
      process.stdout.write(JSON.stringify(results));
    })();`;
  const env: NodeJS.ProcessEnv = { ...process.env, ONEDNN_MAX_CPU_ISA: isa };
  if (strassen !== undefined) env.NATIVE_STRASSEN = `${strassen}`;
  const output = execFileSync(process.execPath, ['-e', script, addon, JSON.stringify(products)], {
    encoding: 'utf8',
    env,
    maxBuffer: 2 ** 28,
  });
  return (JSON.parse(output) as string[][]).map((result) =>
    result.map((text) => new Float32Array(new Uint8Array(Buffer.from(text, 'base64')).buffer)),
  );
}

interface Sums {
  exact: number[];
  /** One float32 sum after another. */
  plain: number[];
}

/** x wᵀ in every third row. */
function plainSums(x: Float32Array, w: Float32Array, [rows, inputs, out]: Product['shape']): Sums {
  const sums: Sums = { exact: [], plain: [] };
  for (let i = 0; i < rows; i += 3) {
    for (let j = 0; j < out; j++) {
      let exact = 0;
      let plain = 0;
      for (let k = 0; k < inputs; k++) {
        const product = x[i * inputs + k]! * w[j * inputs + k]!;
        exact += product;
        plain = Math.fround(plain + Math.fround(product));
      }
      sums.exact.push(exact);
      sums.plain.push(plain);
    }
  }
  return sums;
}

/** act(sums + bias) + residual and the activation's slope, of the rows of `plainSums`, each number rounded by `round`. */
function plainEpilogue(
  sums: readonly number[],
  [bias, residual]: readonly [Float32Array | null, Float32Array | null],
  out: number,
  quickGelu: boolean,
  round: (value: number) => number,
): { y: number[]; slope: number[] } {
  const y: number[] = [];
  const slope: number[] = [];
  for (const [index, sum] of sums.entries()) {
    const [i, j] = [3 * Math.floor(index / out), index % out];
    const u = round(sum + (bias?.[j] ?? 0));
    const s = 1 / (1 + Math.exp(-1.702 * u));
    slope.push(s + 1.702 * u * s * (1 - s));
    y.push(round((quickGelu ? u * s : u) + (residual?.[i * out + j] ?? 0)));
  }
  return { y, slope };
}

const errors = (a: ArrayLike<number>, b: ArrayLike<number>) =>
  Array.from(a, (value, i) => Math.abs(value - b[i]!));
const largest = (values: number[]) => values.reduce((a, b) => Math.max(a, b), 0);
const rootMeanSquare = (values: number[]) => Math.sqrt(values.reduce((a, b) => a + b * b, 0) / values.length);

/**
 * The plain implementation is one float32 sum after another. Strassen's products are of sums of two numbers, twice as
 * large as those that remain in the end, so errors grow by about that, for small results as for large ones, and once more
 * with each level: 2.4 times the root mean square and 2.5 times the largest were seen with one, 3.4 and 2.4 times with two.
 * Other products keep to a factor of 2. AMX adds up 32 products before it rounds in the size of the sum, and
 * 0.45 times was seen.
 */
function expectAsExact(
  actual: ArrayLike<number>,
  plain: ArrayLike<number>,
  exact: ArrayLike<number>,
  most: number,
): void {
  const [ours, theirs] = [errors(actual, exact), errors(plain, exact)];
  expect(rootMeanSquare(ours)).toBeLessThanOrEqual(most * rootMeanSquare(theirs));
  expect(largest(ours)).toBeLessThanOrEqual((most === 1 ? 2 : 4) * largest(theirs));
}

// Halves of one block, of two, and of two narrow ones; of odd rows, rows that cannot be halved, and few rows; quarters.
const sizes = [
  [260, 320, 320, 1],
  [258, 1088, 448, 1],
  [260, 1600, 320, 1],
  [257, 288, 320, 0],
  [132, 768, 512, 1],
  [520, 768, 768, 2],
] as const;
const variants: [string, Options][] = [
  ['alone', { bias: false, residual: false, quickGelu: false }],
  ['bias, QuickGELU and slope', { bias: true, residual: false, quickGelu: true }],
  ['bias and residual', { bias: true, residual: true, quickGelu: false }],
];

describe.each(sizes)('[%i, %i] by [%i] columns, halved %i times', (rows, inputs, out, levels) => {
  const shape = [rows, inputs, out] as const;
  let sums: Sums;
  beforeAll(async () => {
    sums = plainSums(await normals(rows * inputs, 1), await normals(out * inputs, 2), shape);
  });

  test.each(variants)('%s', async (_, options) => {
    const bias = options.bias ? await normals(out, 4) : null;
    const residual = options.residual ? await normals(rows * out, 5) : null;
    const exact = plainEpilogue(sums.exact, [bias, residual], out, options.quickGelu, (value) => value);
    const plain = plainEpilogue(sums.plain, [bias, residual], out, options.quickGelu, Math.fround);
    for (const isa of new Set(['ALL', ...dividing])) {
      // As often as the sizes allow, whichever processor this is.
      const [results] = await linears([{ shape, ...options }], isa, 2);
      const [y, slope] = results!.map((data) => data.filter((_, i) => Math.floor(i / out) % 3 === 0));
      const most = amx && isa === 'ALL' ? 1 : levels < 2 ? 3 : 4;
      expectAsExact(y!, plain.y, exact.y, most);
      expect(slope !== undefined).toBe(options.quickGelu);
      if (slope) expectAsExact(slope, plain.slope, exact.slope, most);
    }
  });
});

const [alone] = variants.map(([, options]) => options);

(dividing.length > 0 ? describe.each(dividing) : describe.skip.each(['none']))('with %s', (isa) => {
  test('halves of a product share sums, where rows can be halved', async () => {
    const [rows, inputs, out] = [258, 320, 320];
    const [halved, whole] = await linears(
      [rows, rows - 1].map((count) => ({ shape: [count, inputs, out], ...alone! })),
      isa,
    );
    const shared = halved![0]!.slice(0, (rows - 1) * out);
    expect(shared).not.toEqual(whole![0]!);
    expect(largest(errors(shared, whole![0]!))).toBeLessThan(1e-4);
  });

  test.each(sizes)(
    '[%i, %i] by [%i] columns are halved %i times, and less often where the environment says so',
    async (rows, inputs, out, levels) => {
      const halvedAtMost = async (limit: number) => {
        const [[y]] = (await linears([{ shape: [rows, inputs, out], ...alone! }], isa, limit)) as [
          Float32Array[],
        ];
        return Buffer.from(y!.buffer).toString('base64');
      };
      const bits = await Promise.all([0, 1, 2].map(halvedAtMost));
      expect(new Set(bits).size).toBe(levels + 1);
      expect(new Set(bits.slice(levels)).size).toBe(1);
    },
  );
});
