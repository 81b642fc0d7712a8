import type { Command } from 'commander';
import { CodedError } from '../base/error';
import { loadConfig } from '../config/load';
import { type MeasuredCosts, measure, type StepCost } from '../engine';
import { type Geometry, geometryOf } from '../models';
import { countOperations, countParameters } from '../models/xclip/cost';
import { openWeights } from '../models/xclip/weights';
import { archOf } from '../models/zoo';
import { interruptible } from './interrupt';
import { note, print } from './terminal';
import { trainedClasses } from './trained_classes';

interface InfoFlags {
  cfg?: string;
  checkpoint?: string;
  opts?: string[];
  measure?: boolean;
  json?: boolean;
}

const examples = `
Examples:
  $ xclip-native info -cfg configs/k400/16_32.yaml
  $ xclip-native info -cfg configs/k400/32_8.yaml --measure --opts TRAIN.BATCH_SIZE 4
  $ xclip-native info --checkpoint k400_32_8.pth`;

/** Adds `info`: architecture, parameters and cost, counted and measured, of a configuration's or checkpoint's model. */
export function addInfo(program: Command): void {
  program
    .command('info')
    .description('show the architecture, parameters and cost of a model, also as measured on this machine')
    .option('--cfg <file>', 'configuration file, also -cfg')
    .option('--checkpoint <file>', 'weights to look into')
    .option('--opts <KEY VALUE...>', 'configuration values')
    .option('--measure', 'also measure time and memory of testing and training on this machine, with -cfg')
    .option('--json', 'print JSON')
    .addHelpText('after', examples)
    .action(info);
}

async function info({ cfg, checkpoint, opts, json, ...flags }: InfoFlags): Promise<void> {
  if ((cfg === undefined) === (checkpoint === undefined)) {
    throw new CodedError('ERR_USAGE', 'info takes either -cfg or --checkpoint');
  }
  if (flags.measure && cfg === undefined) {
    throw new CodedError('ERR_USAGE', '--measure needs -cfg, which says batch size and precision');
  }
  const { geometry, classes } =
    checkpoint === undefined ? fromConfig(cfg!, opts) : await fromWeights(checkpoint);
  const parameters = countParameters(geometry);
  const operations = countOperations(geometry, classes);
  if (json) {
    const costs = flags.measure ? await measured(cfg!, opts) : undefined;
    print(JSON.stringify({ geometry, classes, parameters, operations, costs }, null, 2));
    return;
  }
  const count = (value: number) => value.toLocaleString('en-US').padStart(16);
  const billions = (value: number) => (value / 1e9).toFixed(3).padStart(12);
  print(
    `${geometry.arch}, ${geometry.frames} frames of ${geometry.imageSize} x ${geometry.imageSize}, ${classes} classes`,
  );
  print(
    `vision: patch ${geometry.patch}, width ${geometry.visionWidth}, ${geometry.visionLayers} layers, ${geometry.visionHeads} heads`,
  );
  print(
    `text: width ${geometry.textWidth}, ${geometry.textLayers} layers, ${geometry.textHeads} heads, ${geometry.contextLength} tokens`,
  );
  print(`shared space: width ${geometry.embedDim}`);
  print('\nParameters');
  for (const [name, value] of Object.entries(parameters.byModule))
    print(`  ${name.padEnd(34)}${count(value)}`);
  print(`  ${'total'.padEnd(34)}${count(parameters.total)}`);
  print(`  ${'trained with a fixed text tower'.padEnd(34)}${count(parameters.trainableWithFixedText)}`);
  print('\nMultiply-accumulates of one view, in billions (one is two operations)');
  for (const [name, value] of Object.entries(operations.parts))
    print(`  ${name.padEnd(38)}${billions(value)}`);
  print(`  ${'video, with cached text features'.padEnd(38)}${billions(operations.video)}`);
  print(`  ${'text, once for all classes'.padEnd(38)}${billions(operations.text)}`);
  if (!flags.measure) return;
  const costs = await measured(cfg!, opts);
  if (!costs) return;
  const { test, training } = costs;
  print(`\nMeasured on this machine (${costs.device}, ${costs.computeDtype}), without decoding`);
  const row = (name: string, { clips, seconds, peakBytes }: StepCost) =>
    print(
      `  ${name.padEnd(34)}${seconds.toFixed(3).padStart(10)} s${(peakBytes / 1e9).toFixed(2).padStart(8)} GB` +
        `${(clips / seconds).toFixed(2).padStart(10)} clips/s`,
    );
  row('test, one clip', test);
  row(`training step of ${training.clips} clips`, training);
}

/** Undefined when it was interrupted. */
function measured(cfg: string, opts?: string[]): Promise<MeasuredCosts | undefined> {
  const config = loadConfig({ cfg, opts });
  return interruptible('stopping', (signal) =>
    measure(config, { signal, onStage: (stage) => note(`measuring: ${stage}`) }),
  );
}

interface Subject {
  geometry: Geometry;
  classes: number;
}

function fromConfig(cfg: string, opts?: string[]): Subject {
  const config = loadConfig({ cfg, opts });
  return { geometry: geometryOf(config), classes: config.DATA.NUM_CLASSES };
}

async function fromWeights(checkpoint: string): Promise<Subject> {
  const { geometry, close } = await openWeights(checkpoint);
  await close();
  const classes = (await trainedClasses(checkpoint)) ?? 400;
  return { geometry: { ...geometry, arch: archOf(geometry) }, classes };
}
