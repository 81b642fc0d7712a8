/**
 * Runs at most `limit` jobs at a time, first come, first served: bounds how many videos (decoders, their picture
 * buffers) are open at once.
 */
export class Limiter {
  private running = 0;
  /** Those that wait, from `next` on: taking the first of a long array away would move all others. */
  private waiting: ((() => void) | undefined)[] = [];
  private next = 0;

  constructor(private readonly limit: number) {}

  async run<T>(job: () => Promise<T>): Promise<T> {
    // A job that ends hands its place to the next one waiting, so nobody who comes later can take it.
    if (this.running < this.limit) this.running++;
    else await new Promise<void>((start) => this.waiting.push(start));
    try {
      return await job();
    } finally {
      const start = this.takeNext();
      if (start) start();
      else this.running--;
    }
  }

  private takeNext(): (() => void) | undefined {
    const start = this.waiting[this.next];
    if (start) this.waiting[this.next++] = undefined;
    if (this.next === this.waiting.length) {
      this.waiting = [];
      this.next = 0;
    }
    return start;
  }
}
