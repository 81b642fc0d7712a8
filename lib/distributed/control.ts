import { CodedError } from '../base/error';

/** What a process says to rank 0 first. */
export interface Hello {
  rank: number;
  worldSize: number;
  token: string;
}

export type FromMember = { number: number; value: unknown } | { left: string | null };
/** `welcome` is the address at which other machines reach that of rank 0. */
export type FromHub =
  | { welcome: string }
  | { refused: string }
  | { number: number; values: unknown[] }
  | Lost;

/** The first process that is gone, and why. */
export interface Lost {
  lost: number;
  reason: string;
}

/** Why a process is gone that owes nobody anything, unless somebody still waits for a value of it. */
export const workEnded = 'its work has ended';

/** Longest line of a process that has said who it is, in bytes. */
export const lineLimit = 2 ** 28;

/**
 * What the processes of a job tell one another beside their tensors: JSON values, over TCP connections to rank 0. When a
 * process goes away without a word, or with one, all others hear of it at once.
 */
export abstract class Control {
  /** An address of this machine at which the others reach it. */
  abstract readonly address: string;
  private count = 0;
  private readonly waiting = new Map<
    number,
    { resolve: (values: unknown[]) => void; reject: (error: CodedError) => void }
  >();
  private failure: CodedError | null = null;
  /** Told at once when another process is gone before its work has ended. */
  onLost: (error: CodedError) => void = () => {};

  /**
   * Gives every process the values of all, by rank. All take part, in the same order of calls.
   *
   * @throws ERR_DISTRIBUTED when a process is gone
   */
  exchange(value: unknown): Promise<unknown[]> {
    const number = this.count++;
    return new Promise((resolve, reject) => {
      if (this.failure) {
        reject(this.failure);
        return;
      }
      this.waiting.set(number, { resolve, reject });
      this.contribute(number, value);
    });
  }

  /** Why the job cannot go on, when another process is gone; null while all is well. */
  get lost(): CodedError | null {
    return this.failure;
  }

  /** Takes leave, with the reason if it is not the end of the work. */
  abstract leave(reason: string | null): void;

  protected abstract contribute(number: number, value: unknown): void;

  protected deliver(number: number, values: unknown[]): void {
    this.waiting.get(number)?.resolve(values);
    this.waiting.delete(number);
  }

  protected fail({ lost, reason }: Lost): void {
    const first = this.failure === null;
    this.failure ??= new CodedError('ERR_DISTRIBUTED', `rank ${lost} has left the job: ${reason}`);
    for (const { reject } of this.waiting.values()) reject(this.failure);
    if (first && reason !== workEnded) this.onLost(this.failure);
  }
}

/** Whether only the machine itself gets to this address. */
export function isLoopback(address: string): boolean {
  return /^127\.|^::1$/.test(address);
}

/** An IPv4 address that is dressed as an IPv6 one, plainly. */
export function plainAddress(address = '127.0.0.1'): string {
  return address.replace(/^::ffff:/, '');
}
