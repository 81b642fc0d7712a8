import { createConnection, type Socket } from 'node:net';
import { CodedError } from '../base/error';
import {
  Control,
  type FromHub,
  type FromMember,
  type Hello,
  isLoopback,
  lineLimit,
  plainAddress,
} from './control';
import type { JobEnvironment } from './environment';
import { JsonLines } from './json_lines';
import { type Patience, waitFor } from './wait_for';

const retryMilliseconds = 100;
/** A machine that is not there yet may not answer at all, and the system asks again ever more rarely. */
const answerMilliseconds = 5_000;

/** Any other rank. */
export class Member extends Control {
  address: string;
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

  static async connect(job: JobEnvironment, options: Patience): Promise<Control> {
    let last = '';
    const late = () => `rank ${job.rank} found no rank 0 at ${job.host}:${job.port}${last}`;
    let attempt: Socket | undefined;
    let again: NodeJS.Timeout | undefined;
    const socket = await waitFor<Socket>(
      (resolve) => {
        const tryOnce = () => {
          attempt = createConnection(job.port, job.host);
          attempt.setTimeout(answerMilliseconds, () => attempt!.destroy(new Error('no answer')));
          attempt.once('connect', () => resolve(attempt!));
          // Rank 0 may start later.
          attempt.once('error', ({ message }) => {
            last = ` (${message})`;
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
    socket.setTimeout(0);
    socket.removeAllListeners('timeout');
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
    if ('welcome' in message) {
      // Who came by an address of its machine alone stands on the machine of rank 0.
      if (isLoopback(this.address)) this.address = message.welcome;
      this.begun(null);
    } else if ('refused' in message) this.begun(message.refused);
    else if ('lost' in message) {
      this.begun(message.reason);
      this.fail(message);
    } else this.deliver(message.number, message.values);
  }
}
