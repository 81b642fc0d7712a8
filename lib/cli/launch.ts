import type { Command } from 'commander';
import { CodedError } from '../base/error';
import { type LaunchOptions, launch } from '../distributed/launch';
import { integerFrom } from './arguments';
import { note, print } from './terminal';

interface LaunchFlags {
  nprocPerNode: number;
  nnodes: number;
  nodeRank: number;
  rdzvEndpoint?: string;
}

const examples = `
Examples:
  $ xclip-native launch --nproc-per-node 2 train -cfg configs/k400/32_8.yaml --output out \\
      --opts DATA.ROOT videos DATA.TRAIN_FILE train.txt DATA.VAL_FILE val.txt
  $ JOB_TOKEN=… xclip-native launch --nnodes 2 --node-rank 0 --rdzv-endpoint 10.0.0.1:29500 train -cfg …

TRAIN.BATCH_SIZE counts the videos of one process. Each process gets its share of the cores unless --threads or
OMP_NUM_THREADS say otherwise. Whatever else starts processes works too, if it sets RANK, WORLD_SIZE, MASTER_ADDR and
MASTER_PORT. Connections are not encrypted: several machines need a network of their own, and the same JOB_TOKEN keeps
strangers out.`;

/** Adds `launch`: another command in several processes. */
export function addLaunch(program: Command): void {
  program
    .command('launch')
    .description('run "train" or "test" in several processes that share the work')
    .argument('<command...>', 'the command and its arguments')
    .option('--nproc-per-node <n>', 'processes on this machine', integerFrom(1), 1)
    .option('--nnodes <n>', 'machines', integerFrom(1), 1)
    .option('--node-rank <n>', 'this machine among them', integerFrom(0), 0)
    .option(
      '--rdzv-endpoint <host:port>',
      'where the processes meet, on machine 0 (default: a free port of this one)',
    )
    .passThroughOptions()
    .allowUnknownOption()
    .addHelpText('after', examples)
    .action(async (command: string[], flags: LaunchFlags) => {
      process.exitCode = await launchCommand(command, flags);
    });
}

async function launchCommand(command: string[], flags: LaunchFlags): Promise<number> {
  if (command[0] !== 'train' && command[0] !== 'test') {
    throw new CodedError('ERR_USAGE', `launch runs train or test, not "${command[0]}"; --help says more`);
  }
  if (flags.nnodes > 1 && flags.rdzvEndpoint === undefined) {
    throw new CodedError(
      'ERR_USAGE',
      'several machines meet at --rdzv-endpoint host:port of machine 0: give it',
    );
  }
  if (flags.nodeRank >= flags.nnodes) {
    const problem = `--node-rank counts machines from 0: of ${flags.nnodes} none has ${flags.nodeRank}`;
    throw new CodedError('ERR_USAGE', problem);
  }
  const controller = new AbortController();
  const pass = (name: NodeJS.Signals) => controller.abort(name);
  const signals = ['SIGINT', 'SIGTERM'] as const;
  for (const name of signals) process.on(name, pass);
  try {
    const failed = await launch({
      command: [process.execPath, process.argv[1]!, ...command],
      processes: flags.nprocPerNode,
      nodes: flags.nnodes,
      node: flags.nodeRank,
      ...endpointOf(flags.rdzvEndpoint),
      token: process.env.JOB_TOKEN,
      signal: controller.signal,
      onLine: relay(),
    });
    if (!failed) return 0;
    // Who ended by itself has said why.
    if (failed.signal) note(`launch: rank ${failed.rank} was killed by ${failed.signal}`);
    return failed.status || 1;
  } finally {
    for (const name of signals) process.off(name, pass);
  }
}

/**
 * Passes on what processes say whose output is not that of this one. What is wrong for all, such as a file that is not
 * there, is passed on once.
 */
function relay(): NonNullable<LaunchOptions['onLine']> {
  const said = new Set<string>();
  return (rank, line, stream) => {
    if (stream === 'stderr' && /^(error|warning)\b/.test(line)) {
      if (said.has(line)) return;
      said.add(line);
    }
    (stream === 'stdout' ? print : note)(`[rank ${rank}] ${line}`);
  };
}

function endpointOf(text: string | undefined): { host?: string; port?: number } {
  if (text === undefined) return {};
  const [, host, port] = /^(.+):(\d{1,5})$/.exec(text) ?? [];
  if (!host || Number(port) < 1 || Number(port) > 65535) {
    throw new CodedError('ERR_USAGE', `--rdzv-endpoint is "${text}", not host:port`);
  }
  return { host: host.replace(/^\[(.*)\]$/, '$1'), port: Number(port) };
}
