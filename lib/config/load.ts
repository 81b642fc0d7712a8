import { readFileSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { isMap, isScalar, LineCounter, type Node, type Pair, parseDocument, stringify } from 'yaml';
import { checkKnownOptions } from '../base/check';
import { CodedError } from '../base/error';
import { refuseDevice } from '../base/refuse_device';
import { resolveShipped } from '../base/shipped_path';
import { systemReason } from '../base/system_reason';
import { ConfigBuilder } from './builder';
import type { Config } from './schema';

/** The command line's short ways to set keys, by their official names without dashes. */
export interface ConfigFlags {
  /** `--batch-size`: TRAIN.BATCH_SIZE */
  batchSize?: number;
  /** `--accumulation-steps`: TRAIN.ACCUMULATION_STEPS */
  accumulationSteps?: number;
  /** `--pretrained`: MODEL.PRETRAINED */
  pretrained?: string;
  /** `--resume`: MODEL.RESUME */
  resume?: string;
  /** `--output`: OUTPUT */
  output?: string;
  /** `--only_test`: TEST.ONLY_TEST */
  onlyTest?: boolean;
  /** `--reference-sampling`: TEST.REFERENCE_SAMPLING */
  referenceSampling?: boolean;
  /** `--device`: MODEL.DEVICE */
  device?: string;
  /** `--seed`: SEED */
  seed?: number;
}

/** How each flag is written, and the key that it sets. */
const FLAGS: Readonly<Record<keyof ConfigFlags, readonly [flag: string, key: string]>> = {
  batchSize: ['--batch-size', 'TRAIN.BATCH_SIZE'],
  accumulationSteps: ['--accumulation-steps', 'TRAIN.ACCUMULATION_STEPS'],
  pretrained: ['--pretrained', 'MODEL.PRETRAINED'],
  resume: ['--resume', 'MODEL.RESUME'],
  output: ['--output', 'OUTPUT'],
  onlyTest: ['--only_test', 'TEST.ONLY_TEST'],
  referenceSampling: ['--reference-sampling', 'TEST.REFERENCE_SAMPLING'],
  device: ['--device', 'MODEL.DEVICE'],
  seed: ['--seed', 'SEED'],
};

/**
 * Puts a configuration together: defaults, then the file `cfg` (after the files of its BASE), then `opts`, then flags.
 *
 * @param sources.cfg YAML file; the shipped ones are found in any folder as `configs/k400/32_8.yaml`
 * @param sources.opts KEY VALUE KEY VALUE …, as after `--opts`
 * @returns the complete configuration, deeply frozen
 * @throws ERR_FILE_NOT_FOUND, ERR_FILE_READ, ERR_CONFIG_SYNTAX (not YAML, circular BASE), ERR_CONFIG_KEY (unknown, with
 *   the nearest valid name), ERR_CONFIG_TYPE, ERR_CONFIG_VALUE; each names key, file and line
 *
 * @example
 * const config = loadConfig({ cfg: 'configs/k400/16_8.yaml', opts: ['DATA.ROOT', 'videos'], flags: { batchSize: 4 } });
 * config.TRAIN.BATCH_SIZE; // 4
 */
export function loadConfig(
  sources: { cfg?: string; opts?: readonly string[]; flags?: ConfigFlags } = {},
): Config {
  checkKnownOptions('loadConfig', sources, { cfg: true, opts: true, flags: true });
  if (sources.flags) checkKnownOptions('loadConfig: flags', sources.flags, FLAGS);
  const builder = new ConfigBuilder();
  if (sources.cfg !== undefined) mergeFile(builder, resolveShipped(sources.cfg), []);
  mergeOptions(builder, sources.opts ?? []);
  for (const [name, [flag, key]] of Object.entries(FLAGS)) {
    const value = sources.flags?.[name as keyof ConfigFlags];
    if (value !== undefined) builder.set(key, value, flag);
  }
  return builder.finish();
}

/** The configuration as YAML; `loadConfig` of it gives the same one. */
export function configToYaml(config: Config): string {
  const { BASE: _, ...values } = config;
  return stringify(values);
}

/** @param chain the files that led here, outermost first */
function mergeFile(builder: ConfigBuilder, path: string, chain: readonly string[]): void {
  const file = resolve(path);
  if (chain.includes(file)) {
    throw new CodedError(
      'ERR_CONFIG_SYNTAX',
      `BASE goes in a circle: ${[...chain, file].join(' -> ')}; remove one`,
    );
  }
  const lines = new LineCounter();
  const document = parseDocument(readConfigFile(path, chain.at(-1)), { lineCounter: lines });
  const error = document.errors[0];
  if (error) {
    const where = `${path}:${error.linePos?.[0].line ?? 1}`;
    // Its first line; the others show the place.
    const problem = error.message.replace(/(?: at line \d+, column \d+:)?\n.*$/s, '');
    throw new CodedError('ERR_CONFIG_SYNTAX', `${where}: not valid YAML: ${problem}`);
  }
  const root = document.contents;
  if (root === null || (isScalar(root) && root.value === null)) return;
  if (!isMap(root))
    throw new CodedError('ERR_CONFIG_SYNTAX', `${path}: expected "KEY: value" lines at the top`);
  const reader: Reader = {
    where: (node) => `${path}:${lines.linePos(node.range?.[0] ?? 0).line}`,
    valueOf: (node) => {
      try {
        return node?.toJS(document, { maxAliasCount: 100 }) ?? null;
      } catch (cause) {
        throw new CodedError('ERR_CONFIG_SYNTAX', `${path}: ${(cause as Error).message}`, { cause });
      }
    },
  };
  const pairs = root.items as Pair<Node, Node | null>[];
  const base = pairs.find((pair) => String(pair.key) === 'BASE');
  if (base) {
    const files = builder.check('BASE', reader.valueOf(base.value), reader.where(base.key)) as string[];
    for (const name of files.filter(Boolean)) mergeFile(builder, join(dirname(path), name), [...chain, file]);
  }
  mergePairs(
    builder,
    pairs.filter((pair) => pair !== base),
    '',
    reader,
  );
}

/** What nodes of one file mean: their place as file:line, and their value with aliases resolved (a limited number). */
interface Reader {
  where(node: Node): string;
  valueOf(node: Node | null): unknown;
}

function mergePairs(
  builder: ConfigBuilder,
  pairs: readonly Pair<Node, Node | null>[],
  prefix: string,
  reader: Reader,
): void {
  for (const { key, value } of pairs) {
    const path = prefix + String(key);
    if (isMap(value) && builder.isSection(path)) {
      mergePairs(builder, value.items as Pair<Node, Node | null>[], `${path}.`, reader);
    } else {
      builder.setLiteral(path, reader.valueOf(value), reader.where(key));
    }
  }
}

function readConfigFile(path: string, parent: string | undefined): string {
  const from = parent ? ` (BASE of ${parent})` : '';
  try {
    refuseDevice(path);
    return readFileSync(path, 'utf8');
  } catch (cause) {
    const missing = (cause as NodeJS.ErrnoException).code === 'ENOENT';
    const code = missing ? 'ERR_FILE_NOT_FOUND' : 'ERR_FILE_READ';
    const problem = missing ? 'does not exist' : `cannot be read: ${systemReason(cause)}`;
    throw new CodedError(code, `configuration file ${path}${from} ${problem}`, { cause });
  }
}

function mergeOptions(builder: ConfigBuilder, opts: readonly string[]): void {
  for (let i = 0; i < opts.length; i += 2) {
    const [key, word] = [opts[i]!, opts[i + 1]];
    if (word === undefined) {
      throw new CodedError('ERR_USAGE', `--opts takes KEY VALUE pairs; "${key}" at the end has no value`);
    }
    if (key === 'BASE') throw new CodedError('ERR_CONFIG_KEY', '--opts: BASE belongs into a file; use -cfg');
    builder.setLiteral(key, word, '--opts');
  }
}
