/**
 * Philox4x32-10 (Salmon et al., SC 2011), the counter-based generator that native/core/random.h implements too: a
 * draw depends on (seed, stream, position) alone, so a sample's randomness never depends on who loads it or when.
 *
 * @example
 * const random = new Philox(1024, streamOf(epoch, sampleIndex));
 * random.uniform();      // in [0, 1)
 * random.integer(10);    // 0..9
 */
export class Philox {
  private readonly key: [number, number];
  private readonly high: [number, number];
  private position = 0;
  private words: number[] = [];

  /** @param seed and @param stream are integers in [0, 2^53). */
  constructor(seed: number, stream = 0) {
    this.key = split(seed);
    this.high = split(stream);
  }

  /** The next 32 random bits as an unsigned integer. */
  bits(): number {
    if (this.words.length === 0) {
      this.words = block(split(this.position++), this.high, this.key).reverse();
    }
    return this.words.pop()!;
  }

  /** Uniform in [0, 1), with 53 random bits. */
  uniform(): number {
    const high = this.bits() >>> 5;
    const low = this.bits() >>> 6;
    return (high * 67108864 + low) / 9007199254740992;
  }

  /** Uniform integer in [0, bound). */
  integer(bound: number): number {
    return Math.floor(this.uniform() * bound);
  }

  /** Standard normal (Box-Muller; one value per pair of uniforms, so the number of draws is fixed). */
  normal(): number {
    const radius = Math.sqrt(-2 * Math.log(1 - this.uniform()));
    return radius * Math.cos(2 * Math.PI * this.uniform());
  }

  /** Gamma(shape, 1) by Marsaglia and Tsang (2000); shapes below 1 through the power transform. */
  gamma(shape: number): number {
    if (shape < 1) {
      const boost = (1 - this.uniform()) ** (1 / shape);
      return this.gamma(shape + 1) * boost;
    }
    const d = shape - 1 / 3;
    const c = 1 / Math.sqrt(9 * d);
    for (;;) {
      const x = this.normal();
      const v = (1 + c * x) ** 3;
      if (v > 0 && Math.log(1 - this.uniform()) < 0.5 * x * x + d - d * v + d * Math.log(v)) return d * v;
    }
  }

  /** Beta(a, b). */
  beta(a: number, b: number): number {
    const x = this.gamma(a);
    return x / (x + this.gamma(b));
  }

  /** A random order of 0..count-1 (Fisher-Yates). */
  permutation(count: number): number[] {
    const order = Array.from({ length: count }, (_, i) => i);
    for (let i = count - 1; i > 0; i--) {
      const j = this.integer(i + 1);
      [order[i], order[j]] = [order[j]!, order[i]!];
    }
    return order;
  }
}

/** A stream number for a pair of counters, each below 2^26. */
export function streamOf(major: number, minor: number): number {
  return major * 67108864 + minor;
}

function split(value: number): [number, number] {
  return [value >>> 0, Math.floor(value / 4294967296) >>> 0];
}

// The 64-bit product of two 32-bit words as [low, high], in 16-bit pieces that doubles hold exactly.
function multiply(a: number, b: number): [number, number] {
  const aHigh = a >>> 16;
  const aLow = a & 0xffff;
  const bHigh = b >>> 16;
  const bLow = b & 0xffff;
  const low = aLow * bLow;
  const middle = aHigh * bLow + (low >>> 16);
  const cross = aLow * bHigh + (middle % 65536);
  const high = aHigh * bHigh + Math.floor(middle / 65536) + Math.floor(cross / 65536);
  return [Math.imul(a, b) >>> 0, high];
}

function block(low: [number, number], high: [number, number], key: [number, number]): number[] {
  let [c0, c1] = low;
  let [c2, c3] = high;
  let [k0, k1] = key;
  for (let round = 0; round < 10; round++) {
    const [p0Low, p0High] = multiply(0xd2511f53, c0);
    const [p1Low, p1High] = multiply(0xcd9e8d57, c2);
    [c0, c1, c2, c3] = [(p1High ^ c1 ^ k0) >>> 0, p1Low, (p0High ^ c3 ^ k1) >>> 0, p0Low];
    k0 = (k0 + 0x9e3779b9) >>> 0;
    k1 = (k1 + 0xbb67ae85) >>> 0;
  }
  return [c0, c1, c2, c3];
}
