import { createHash, timingSafeEqual } from 'node:crypto';
import { createConnection, createServer, type Server, type Socket } from 'node:net';
import { CodedError } from '../base/error';
import type { JobEnvironment } from './environment';
import { JsonLines } from './json_lines';

export interface ControlOptions {
  /** How long to wait for the other processes at the start (default 300,000 ms). */
  timeoutMs?: number;
  signal?: AbortSignal;
}

/** What a process says first. */
interface Hello {
  rank: number;
  worldSize: number;
  token: string;
}

type FromMember = { number: number; value: unknown } | { left: string | null };
type FromHub = { welcome: true } | { refused: string } | { number: number; values: unknown[] } | Lost;

/** The first process that is gone, and why. */
interface Lost {
  lost: number;
  reason: string;
}

/** Longest line of a process that has said who it is, in bytes. */
const lineLimit = 2 ** 28;
const helloMilliseconds = 10_000;
const retryMilliseconds = 100;

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

  /**
   * Meets the other processes: rank 0 listens at the job's host and port, and everyone waits until all are there.
   *
   * @throws ERR_DISTRIBUTED naming who is missing or why this one was refused, ERR_ABORTED
   */
  static open(job: JobEnvironment, options: ControlOptions = {}): Promise<Control> {
    return job.rank === 0 ? Hub.listen(job, options) : Member.connect(job, options);
  }

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
    this.failure ??= new CodedError('ERR_DISTRIBUTED', `rank ${lost} has left the job: ${reason}`);
    for (const { reject } of this.waiting.values()) reject(this.failure);
    this.waiting.clear();
  }
}

/** Rank 0. */
class Hub extends Control {
  address = '';
  private readonly members = new Map<number, JsonLines>();
  private readonly strangers = new Set<Socket>();
  private readonly sums = new Map<number, { values: unknown[]; missing: number }>();
  private readonly ended = new Set<number>();
  private complete = () => {};

  private constructor(
    private readonly job: JobEnvironment,
    private readonly server: Server,
  ) {
    super();
    server.on('connection', (socket) => this.greet(socket));
  }

  static async listen(job: JobEnvironment, options: ControlOptions): Promise<Control> {
    const server = createServer();
    const hub = new Hub(job, server);
    try {
      await listenAt(server, job);
      await waitFor(
        (resolve) => {
          hub.complete = resolve;
        },
        options,
        () => `rank 0 waited for ${hub.absent()} at ${job.host}:${job.port}`,
      );
    } catch (error) {
      hub.leave((error as Error).message);
      throw error;
    }
    // Nobody else is expected.
    server.close();
    for (const socket of hub.strangers) socket.destroy();
    for (const member of hub.members.values()) member.send({ welcome: true } satisfies FromHub);
    return hub;
  }

  leave(reason: string | null): void {
    if (reason !== null) this.tell({ lost: 0, reason });
    for (const member of this.members.values()) member.close();
    for (const socket of this.strangers) socket.destroy();
    this.server.close();
  }

  protected contribute(number: number, value: unknown): void {
    this.add(0, number, value);
  }

  private absent(): string {
    const ranks = Array.from({ length: this.job.worldSize }, (_, rank) => rank).slice(1);
    return `rank ${ranks.filter((rank) => !this.members.has(rank)).join(', ')}`;
  }

  private greet(socket: Socket): void {
    this.strangers.add(socket);
    const timer = setTimeout(() => socket.destroy(), helloMilliseconds);
    let rank = -1;
    const lines = new JsonLines(socket, {
      message: (value) => {
        if (rank < 0) {
          clearTimeout(timer);
          this.strangers.delete(socket);
          rank = this.admit(value as Hello, lines);
        } else this.hear(rank, value as FromMember);
      },
      end: (reason) => {
        clearTimeout(timer);
        this.strangers.delete(socket);
        if (rank >= 0) this.lose(rank, reason);
      },
    });
  }

  /** @returns the rank, or -1 when it is turned away */
  private admit(hello: Hello | null, lines: JsonLines): number {
    const { worldSize, token } = this.job;
    const rank = hello?.rank;
    const problem =
      typeof hello?.token !== 'string' || !equalTokens(hello.token, token)
        ? 'its JOB_TOKEN is not that of this job'
        : hello.worldSize !== worldSize
          ? `its WORLD_SIZE is ${hello.worldSize}, that of rank 0 is ${worldSize}`
          : !Number.isInteger(rank) || rank! < 1 || rank! >= worldSize
            ? `there is no rank ${rank}`
            : this.members.has(rank!)
              ? `another process is rank ${rank} already`
              : null;
    if (problem !== null) {
      lines.send({ refused: problem } satisfies FromHub);
      lines.close();
      return -1;
    }
    lines.limit = lineLimit;
    this.address ||= plainAddress(lines.socket.localAddress);
    this.members.set(rank!, lines);
    if (this.members.size === worldSize - 1) this.complete();
    return rank!;
  }

  private hear(rank: number, message: FromMember): void {
    if ('number' in message) this.add(rank, message.number, message.value);
    else if (message.left === null) {
      this.members.get(rank)?.close();
      this.ended.add(rank);
      this.missEnded();
    } else this.lose(rank, message.left);
  }

  private add(rank: number, number: number, value: unknown): void {
    const sum = this.sums.get(number) ?? { values: [], missing: this.job.worldSize };
    this.sums.set(number, sum);
    sum.values[rank] = value;
    if (--sum.missing > 0) {
      this.missEnded();
      return;
    }
    this.sums.delete(number);
    for (const member of this.members.values()) member.send({ number, values: sum.values } satisfies FromHub);
    this.deliver(number, sum.values);
  }

  /** A process whose work has ended gives no more values: whoever waits for one waits in vain. */
  private missEnded(): void {
    for (const { values } of this.sums.values()) {
      for (const rank of this.ended) if (!(rank in values)) this.lose(rank, 'its work has ended');
    }
  }

  private lose(rank: number, reason: string): void {
    if (this.lost) return;
    this.tell({ lost: rank, reason });
    this.fail({ lost: rank, reason });
  }

  private tell(news: Lost): void {
    for (const [rank, member] of this.members) if (rank !== news.lost) member.send(news satisfies FromHub);
  }
}

/** Any other rank. */
class Member extends Control {
  readonly address: string;
  private readonly lines: JsonLines;
  private begun: (refused: string | null) => void = () => {};

  private constructor(socket: Socket) {
    super();
    this.address = plainAddress(socket.localAddress);
    this.lines = new JsonLines(socket, {
      message: (value) => this.hear(value as FromHub),
      end: (reason) => {
        this.begun(reason);
        this.fail({ lost: 0, reason });
      },
    });
    this.lines.limit = lineLimit;
  }

  static async connect(job: JobEnvironment, options: ControlOptions): Promise<Control> {
    const late = () => `rank ${job.rank} found no rank 0 at ${job.host}:${job.port}`;
    let attempt: Socket | undefined;
    let again: NodeJS.Timeout | undefined;
    const socket = await waitFor<Socket>(
      (resolve) => {
        const tryOnce = () => {
          attempt = createConnection(job.port, job.host);
          attempt.once('connect', () => resolve(attempt!));
          // Rank 0 may start later.
          attempt.once('error', () => {
            again = setTimeout(tryOnce, retryMilliseconds);
          });
        };
        tryOnce();
      },
      options,
      late,
    ).catch((error) => {
      clearTimeout(again);
      attempt?.destroy();
      throw error;
    });
    socket.removeAllListeners('error');
    const member = new Member(socket);
    const { rank, worldSize, token } = job;
    member.lines.send({ rank, worldSize, token } satisfies Hello);
    try {
      const refused = await waitFor<string | null>(
        (resolve) => {
          member.begun = resolve;
        },
        options,
        () => `rank ${rank} waited for others to come to ${job.host}:${job.port}`,
      );
      if (refused === null) return member;
      throw new CodedError(
        'ERR_DISTRIBUTED',
        `rank 0 at ${job.host}:${job.port} turned rank ${rank} away: ${refused}`,
      );
    } catch (error) {
      member.leave((error as Error).message);
      throw error;
    }
  }

  leave(reason: string | null): void {
    this.lines.send({ left: reason } satisfies FromMember);
    this.lines.close();
  }

  protected contribute(number: number, value: unknown): void {
    this.lines.send({ number, value } satisfies FromMember);
  }

  private hear(message: FromHub): void {
    if ('welcome' in message) this.begun(null);
    else if ('refused' in message) this.begun(message.refused);
    else if ('lost' in message) {
      this.begun(message.reason);
      this.fail(message);
    } else this.deliver(message.number, message.values);
  }
}

/** Listens at the job's host where that is an address of this machine, else (it may be a service's name) at all. */
async function listenAt(server: Server, { host, port }: JobEnvironment): Promise<void> {
  const attempt = (at: string | undefined) =>
    new Promise<void>((resolve, reject) => {
      server.once('error', reject);
      server.listen(port, at, () => {
        server.off('error', reject);
        resolve();
      });
    });
  try {
    await attempt(host).catch((error: NodeJS.ErrnoException) => {
      if (error.code !== 'EADDRNOTAVAIL') throw error;
      return attempt(undefined);
    });
  } catch (cause) {
    const { message } = cause as Error;
    throw new CodedError('ERR_DISTRIBUTED', `rank 0 cannot listen at ${host}:${port}: ${message}`, { cause });
  }
}

/** What `begin` resolves to, unless time or patience run out first. */
async function waitFor<T = void>(
  begin: (resolve: (value: T) => void) => void,
  { timeoutMs = 300_000, signal }: ControlOptions,
  doing: () => string,
): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  let abort = () => {};
  try {
    return await new Promise<T>((resolve, reject) => {
      timer = setTimeout(() => {
        reject(new CodedError('ERR_DISTRIBUTED', `${doing()}, in vain for ${timeoutMs / 1000} s`));
      }, timeoutMs);
      abort = () => reject(new CodedError('ERR_ABORTED', `${doing()} until it was told to stop`));
      if (signal?.aborted) abort();
      signal?.addEventListener('abort', abort);
      begin(resolve);
    });
  } finally {
    clearTimeout(timer);
    signal?.removeEventListener('abort', abort);
  }
}

function equalTokens(a: string, b: string): boolean {
  const digest = (text: string) => createHash('sha256').update(text).digest();
  return timingSafeEqual(digest(a), digest(b));
}

/** An IPv4 address that is dressed as an IPv6 one, plainly. */
function plainAddress(address = '127.0.0.1'): string {
  return address.replace(/^::ffff:/, '');
}
