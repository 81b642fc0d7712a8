import { CodedError } from '../base/error';

/** Who this process is in its job, by the environment variables that torchrun, Slurm wrappers and Kubernetes set too. */
export interface JobEnvironment {
  /** RANK: this process among all. */
  rank: number;
  /** WORLD_SIZE: how many there are. */
  worldSize: number;
  /** LOCAL_RANK: this process among those of its machine. */
  localRank: number;
  /** MASTER_ADDR, MASTER_PORT: where rank 0 is met. */
  host: string;
  port: number;
  /** JOB_TOKEN: what every process of the job has to know; '' when none was agreed on. */
  token: string;
}

/**
 * The job that the environment describes; null where WORLD_SIZE is missing or 1.
 *
 * @throws ERR_DISTRIBUTED when a variable is missing or no sensible number
 *
 * @example
 * jobFromEnvironment({ WORLD_SIZE: '1' }); // null
 */
export function jobFromEnvironment(
  env: Readonly<Record<string, string | undefined>> = process.env,
): JobEnvironment | null {
  const worldSize = env.WORLD_SIZE === undefined ? 1 : numberOf('WORLD_SIZE', env.WORLD_SIZE, 1, 65536);
  if (worldSize === 1) return null;
  const host = env.MASTER_ADDR;
  if (!host) throw invalid('MASTER_ADDR', 'is missing; it names the machine of rank 0');
  const rank = numberOf('RANK', env.RANK, 0, worldSize - 1);
  return {
    rank,
    worldSize,
    localRank: env.LOCAL_RANK === undefined ? rank : numberOf('LOCAL_RANK', env.LOCAL_RANK, 0, worldSize - 1),
    host,
    port: numberOf('MASTER_PORT', env.MASTER_PORT, 1, 65535),
    token: env.JOB_TOKEN ?? '',
  };
}

function numberOf(name: string, text: string | undefined, least: number, most: number): number {
  if (text === undefined) throw invalid(name, 'is missing');
  const value = /^\d+$/.test(text) ? Number(text) : Number.NaN;
  if (!(value >= least && value <= most))
    throw invalid(name, `is "${text}", not a number in ${least}..${most}`);
  return value;
}

function invalid(name: string, problem: string): CodedError {
  return new CodedError(
    'ERR_DISTRIBUTED',
    `the environment variable ${name} ${problem}. "launch" sets it for each process; unset WORLD_SIZE to run alone`,
  );
}
