import { checkKnownOptions, type KnownOptions } from '../base/check';
import type { CodedError } from '../base/error';
import { synchronize } from '../native/device';
import { type DeviceType, native } from '../native/load';
import type { Tensor } from '../tensor/tensor';
import type { Control } from './control';
import { type JobEnvironment, jobFromEnvironment } from './environment';
import { meet } from './rendezvous';
import type { Patience } from './wait_for';

export interface JoinOptions extends Patience {
  /** How long a collective waits for another process (default 1,800,000 ms). */
  collectiveTimeoutMs?: number;
}

const keys: KnownOptions<JoinOptions> = { collectiveTimeoutMs: true, timeoutMs: true, signal: true };

/**
 * The processes of a job, each with its own part of the data and a copy of the model. All of them make the same calls
 * in the same order.
 *
 * @example
 * const group = await ProcessGroup.join(); // null when this process works alone
 * if (group) {
 *   const x = tensor([group.rank, 1]);
 *   group.allReduce([x], 1 / group.worldSize); // the mean over all processes
 *   const hosts = await group.exchange(process.env.HOSTNAME ?? ''); // everyone's, by rank
 *   await group.leave();
 * }
 */
export class ProcessGroup {
  /** Devices whose tensors the processes exchange. */
  private readonly devices = new Set<DeviceType>();

  private constructor(
    /** This process, 0..worldSize - 1. */
    readonly rank: number,
    readonly worldSize: number,
    /** This process among those of its machine. */
    readonly localRank: number,
    private readonly control: Control,
    private readonly collectiveTimeoutMs: number,
  ) {
    control.onLost = ({ message }) => {
      for (const device of this.devices) native().commAbort(device, message);
    };
  }

  /**
   * Joins the job that the environment describes ({@link jobFromEnvironment}), once all its processes are there.
   *
   * @returns null where there is no job: this process works alone
   * @throws ERR_DISTRIBUTED when variables or Gloo are missing, a process does not come, or this one is turned away;
   *   ERR_ABORTED
   */
  static async join(
    job: JobEnvironment | null = jobFromEnvironment(),
    options: JoinOptions = {},
  ): Promise<ProcessGroup | null> {
    checkKnownOptions('ProcessGroup.join', options, keys);
    if (job === null) return null;
    const { collectiveTimeoutMs = 1_800_000, ...patience } = options;
    const control = await meet(job, patience);
    const group = new ProcessGroup(job.rank, job.worldSize, job.localRank, control, collectiveTimeoutMs);
    try {
      await group.connect('cpu');
      return group;
    } catch (error) {
      await group.leave((error as Error).message);
      throw error;
    }
  }

  /**
   * Makes ready to exchange tensors of a device; those of the CPU are from the start. All take part. Idempotent.
   *
   * @throws ERR_DISTRIBUTED when the library for it is missing, or another process does not come
   */
  async connect(device: DeviceType): Promise<void> {
    if (this.devices.has(device)) return;
    const { rank, worldSize, control } = this;
    const own = native().commOpen(device, rank, worldSize, control.address, this.collectiveTimeoutMs / 1000);
    this.devices.add(device);
    const all = (await control.exchange(own)) as string[][];
    native().commConnect(
      device,
      all.map((addresses) => addresses[rank]!),
    );
    await synchronize(device);
    while (!native().commReady(device)) await new Promise((resolve) => setTimeout(resolve, 20));
  }

  /** Gives every process the values (whatever JSON can say) of all, by rank. @throws ERR_DISTRIBUTED */
  async exchange<T>(value: T): Promise<T[]> {
    return (await this.control.exchange(value)) as T[];
  }

  /** The value of rank 0, on every process. @throws ERR_DISTRIBUTED */
  async first<T>(value: T): Promise<T> {
    return (await this.exchange(this.rank === 0 ? value : null))[0] as T;
  }

  /** Whether `flag` is true on any process. @throws ERR_DISTRIBUTED */
  async any(flag: boolean): Promise<boolean> {
    return (await this.exchange(flag)).includes(true);
  }

  /**
   * Replaces each tensor by `scale` times its sum over all processes, to the same bits on each. Queued like an operation;
   * a failure comes with the next tensor that is read.
   *
   * @param list float32 tensors on one device ({@link connect}), of the same sizes everywhere
   * @throws ERR_DTYPE, ERR_DEVICE, ERR_DISTRIBUTED
   */
  allReduce(list: readonly Tensor[], scale = 1): void {
    this.startAllReduce(list, scale);
    this.wait(list);
  }

  /**
   * {@link allReduce} beside what is queued from here on, until {@link wait}: nothing may use the tensors before that.
   * Such sums run one after another.
   */
  startAllReduce(list: readonly Tensor[], scale = 1): void {
    native().allReduce(
      list.map(({ handle }) => handle),
      scale,
    );
    for (const x of list) x.version++;
  }

  /** Replaces each tensor by that of rank `root`. Queued like an operation. @throws ERR_DEVICE, ERR_DISTRIBUTED */
  broadcast(list: readonly Tensor[], root = 0): void {
    native().broadcast(
      list.map(({ handle }) => handle),
      root,
    );
    this.wait(list);
    for (const x of list) x.version++;
  }

  /** What is queued from here on runs once everything that was started on the device of `list` has ended. */
  wait(list: readonly Tensor[]): void {
    if (list[0]) native().commWait(list[0].device);
  }

  /**
   * The error that tells of the process whose going made others fail, when `error` may come of that; else `error`. A
   * broken connection is noticed by both, and only one of them knows the cause.
   */
  async causeOf(error: unknown): Promise<unknown> {
    if ((error as CodedError).code !== 'ERR_DISTRIBUTED') return error;
    // The news may still be on its way.
    for (let i = 0; i < 60 && !this.control.lost; i++)
      await new Promise((resolve) => setTimeout(resolve, 50));
    return this.control.lost ?? error;
  }

  /**
   * Takes leave. The others are told `reason`, if there is one; without it this process has done its work, and what is
   * queued is waited for.
   *
   * @throws without a reason what failed of that; the group is then to be left with a reason
   */
  async leave(reason: string | null = null): Promise<void> {
    for (const device of reason === null ? this.devices : []) {
      native().commWait(device); // a collective that nobody has waited for may have failed
      await synchronize(device);
    }
    this.control.leave(reason);
    for (const device of this.devices) {
      if (reason !== null) native().commAbort(device, reason);
      native().commClose(device);
    }
    this.devices.clear();
  }
}
