import type { Random } from '../../lib/data/random';

/** One recorded draw: a fraction in [0, 1), an integer below a bound, or a permutation. */
export type Draw = { uniform: number } | { integer: number; bound: number } | { permutation: number[] };

/** Replays recorded draws and fails when another kind, or another bound, is asked for. */
export class ReplayedRandom implements Random {
  private position = 0;

  constructor(private readonly draws: readonly Draw[]) {}

  uniform(): number {
    const draw = this.next();
    if (!('uniform' in draw))
      throw new Error(`a uniform was drawn where the record has ${JSON.stringify(draw)}`);
    return draw.uniform;
  }

  integer(bound: number): number {
    const draw = this.next();
    if (!('integer' in draw) || draw.bound !== bound) {
      throw new Error(`an integer below ${bound} was drawn where the record has ${JSON.stringify(draw)}`);
    }
    return draw.integer;
  }

  permutation(count: number): number[] {
    const draw = this.next();
    if (!('permutation' in draw) || draw.permutation.length !== count) {
      throw new Error(`a permutation of ${count} was drawn where the record has ${JSON.stringify(draw)}`);
    }
    return draw.permutation;
  }

  /** Number of draws left. */
  get left(): number {
    return this.draws.length - this.position;
  }

  private next(): Draw {
    const draw = this.draws[this.position++];
    if (!draw) throw new Error('more was drawn than the record has');
    return draw;
  }
}
