import type { Socket } from 'node:net';

/** Both sides say something at least this often, so that a machine that vanished is noticed. */
const beatMilliseconds = 5_000;
const silenceMilliseconds = 60_000;

/** What the listener of {@link JsonLines} is told. */
export interface LinesListener {
  message(value: object): void;
  /** Called once, when nothing more will come. */
  end(reason: string): void;
}

/** A socket that carries one JSON object per line. Empty lines are signs of life. */
export class JsonLines {
  /** Longest line that is taken, in bytes; small until the other side has said who it is. */
  limit = 4096;
  private parts: Buffer[] = [];
  private size = 0;
  private ended = false;
  private heard = performance.now();
  private readonly beat: NodeJS.Timeout;

  constructor(
    readonly socket: Socket,
    private readonly listener: LinesListener,
  ) {
    socket.setNoDelay(true);
    socket.on('data', (bytes: Buffer) => this.take(bytes));
    socket.on('error', (error) => this.end(error.message));
    socket.on('close', () => this.end('its connection closed'));
    this.beat = setInterval(() => {
      if (performance.now() - this.heard > silenceMilliseconds) {
        this.end(`nothing was heard from it for ${silenceMilliseconds / 1000} s`);
      } else socket.write('\n');
    }, beatMilliseconds);
    this.beat.unref();
  }

  send(value: unknown): void {
    if (!this.ended) this.socket.write(`${JSON.stringify(value)}\n`);
  }

  /** Ends the connection once what was sent is gone; the listener is told nothing more. */
  close(): void {
    this.ended = true;
    clearInterval(this.beat);
    this.socket.end();
    this.socket.unref();
  }

  private take(bytes: Buffer): void {
    this.heard = performance.now();
    let rest = bytes;
    for (let at = rest.indexOf(10); at >= 0 && !this.ended; at = rest.indexOf(10)) {
      const line = Buffer.concat([...this.parts, rest.subarray(0, at)]);
      rest = rest.subarray(at + 1);
      this.parts = [];
      this.size = 0;
      if (line.length > 0) this.parse(line);
    }
    if (rest.length === 0 || this.ended) return;
    this.parts.push(rest);
    this.size += rest.length;
    if (this.size > this.limit) this.end('it sent a line that is too long');
  }

  private parse(line: Buffer): void {
    let value: unknown;
    try {
      if (line.length > this.limit) throw new Error('too long');
      value = JSON.parse(line.toString('utf8'));
      if (typeof value !== 'object' || value === null) throw new Error('no object');
    } catch {
      this.end('it sent something else than JSON objects');
      return;
    }
    this.listener.message(value as object);
  }

  private end(reason: string): void {
    if (this.ended) return;
    this.ended = true;
    clearInterval(this.beat);
    this.socket.destroy();
    this.listener.end(reason);
  }
}
