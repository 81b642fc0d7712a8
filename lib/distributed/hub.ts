import { createHash, timingSafeEqual } from 'node:crypto';
import { createServer, isIP, type Server, type Socket } from 'node:net';
import { CodedError } from '../base/error';
import {
  Control,
  type FromHub,
  type FromMember,
  type Hello,
  isLoopback,
  type Lost,
  lineLimit,
  plainAddress,
  workEnded,
} from './control';
import type { JobEnvironment } from './environment';
import { JsonLines } from './json_lines';
import { type Patience, waitFor } from './wait_for';

/** Rank 0. */
export class Hub extends Control {
  address = '';
  private readonly members = new Map<number, JsonLines>();
  private readonly strangers = new Set<Socket>();
  private readonly sums = new Map<number, { values: unknown[]; missing: number }>();
  private readonly ended = new Set<number>();
  private complete = () => {};

  private constructor(
    private readonly job: JobEnvironment,
    private readonly server: Server,
    private readonly helloMilliseconds: number,
  ) {
    super();
    server.on('connection', (socket) => this.greet(socket));
  }

  /** @param helloMilliseconds how long who comes may take to say who it is */
  static async listen(job: JobEnvironment, options: Patience, helloMilliseconds = 10_000): Promise<Control> {
    const server = createServer();
    const hub = new Hub(job, server, helloMilliseconds);
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
    const reached = [...hub.members.values()].map(({ socket }) => plainAddress(socket.localAddress));
    // Processes of this machine may have come by an address that others cannot use.
    hub.address = reached.find((address) => !isLoopback(address)) ?? reached[0]!;
    for (const member of hub.members.values()) member.send({ welcome: hub.address } satisfies FromHub);
    return hub;
  }

  leave(reason: string | null): void {
    this.tell({ lost: 0, reason: reason ?? workEnded });
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
    const timer = setTimeout(() => socket.destroy(), this.helloMilliseconds);
    let rank = -1;
    const lines = new JsonLines(socket, {
      message: (value) => {
        if (rank < 0) {
          clearTimeout(timer);
          this.strangers.delete(socket);
          rank = this.admit(value, lines);
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
  private admit(hello: Partial<Hello>, lines: JsonLines): number {
    const refused = this.problemOf(hello);
    if (refused !== null) {
      lines.send({ refused } satisfies FromHub);
      lines.close();
      return -1;
    }
    const rank = hello.rank!;
    lines.limit = lineLimit;
    this.members.set(rank, lines);
    if (this.members.size === this.job.worldSize - 1) this.complete();
    return rank;
  }

  private problemOf({ rank, worldSize, token }: Partial<Hello>): string | null {
    if (typeof token !== 'string' || !equalTokens(token, this.job.token)) {
      return 'its JOB_TOKEN is not that of this job';
    }
    if (worldSize !== this.job.worldSize) {
      return `its WORLD_SIZE is ${worldSize}, that of rank 0 is ${this.job.worldSize}`;
    }
    if (!Number.isInteger(rank) || rank! < 1 || rank! >= worldSize) return `there is no rank ${rank}`;
    return this.members.has(rank!) ? `another process is rank ${rank} already` : null;
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
      for (const rank of this.ended) if (!(rank in values)) this.lose(rank, workEnded);
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

/**
 * Listens at the job's host where that is an address of this machine, else at all: a name may be a service's, and that of
 * the machine itself is often an address that no other machine reaches (127.0.1.1 in /etc/hosts).
 */
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
    const only = isIP(host) !== 0 || host === 'localhost';
    await attempt(only ? host : undefined).catch((error: NodeJS.ErrnoException) => {
      if (error.code !== 'EADDRNOTAVAIL') throw error;
      return attempt(undefined);
    });
  } catch (cause) {
    const { message } = cause as Error;
    throw new CodedError('ERR_DISTRIBUTED', `rank 0 cannot listen at ${host}:${port}: ${message}`, { cause });
  }
}

function equalTokens(a: string, b: string): boolean {
  const digest = (text: string) => createHash('sha256').update(text).digest();
  return timingSafeEqual(digest(a), digest(b));
}
