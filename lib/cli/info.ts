import type { Command } from 'commander';
import { CodedError } from '../base/error';
import { loadConfig } from '../config/load';
import { type Geometry, geometryOf } from '../models';
import { countOperations, countParameters } from '../models/xclip/cost';
import { openWeights } from '../models/xclip/weights';
import { archOf } from '../models/zoo';
import { print } from './terminal';
import { trainedClasses } from './trained_classes';

interface InfoFlags {
  cfg?: string;
  checkpoint?: string;
  classes?: string;
  opts?: string[];
  json?: boolean;
}

const examples = `
Examples:
  $ xclip-native info -cfg configs/k400/16_32.yaml
  $ xclip-native info --checkpoint k400_32_8.pth`;

/** Adds `info`: architecture, parameters and cost of a configuration's or checkpoint's model. */
export function addInfo(program: Command): void {
  program
    .command('info')
    .description('show the architecture, parameters and cost of a model')
    .option('--cfg <file>', 'configuration file, also -cfg')
    .option('--checkpoint <file>', 'weights to look into')
    .option('--opts <KEY VALUE...>', 'configuration values')
    .option('--json', 'print JSON')
    .addHelpText('after', examples)
    .action(info);
}

async function info({ cfg, checkpoint, opts, json }: InfoFlags): Promise<void> {
  if ((cfg === undefined) === (checkpoint === undefined)) {
    throw new CodedError('ERR_USAGE', 'info takes either -cfg or --checkpoint');
  }
  const { geometry, classes } =
    checkpoint === undefined ? fromConfig(cfg!, opts) : await fromWeights(checkpoint);
  const parameters = countParameters(geometry);
  const operations = countOperations(geometry, classes);
  if (json) {
    print(JSON.stringify({ geometry, classes, parameters, operations }, null, 2));
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
