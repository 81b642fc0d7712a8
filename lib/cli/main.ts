#!/usr/bin/env node
import { existsSync } from 'node:fs';
import { Command, CommanderError } from 'commander';
import { CodedError } from '../base/error';
import { normalizeArguments } from './arguments';
import { addBuild } from './build';
import { addClassify } from './classify';
import { addConvert } from './convert';
import { addData } from './data';
import { addDemo } from './demo';
import { addDoctor } from './doctor';
import { addInfo } from './info';
import { addLaunch } from './launch';
import { exitOnLostOutput, printError, printOwnWarnings } from './terminal';
import { addTest, addTrain } from './train';
import { packageVersion } from './version';

const examples = `
Examples:
  $ xclip-native train -cfg configs/k400/32_8.yaml --output out --pretrained ViT-B-32.pt \\
      --opts DATA.ROOT videos DATA.TRAIN_FILE train.txt DATA.VAL_FILE val.txt
  $ xclip-native test -cfg configs/k400/32_8.yaml --resume out/best.pth --opts TEST.NUM_CLIP 4 TEST.NUM_CROP 3
  $ xclip-native classify clip.mp4 --checkpoint out/best.pth --labels "arm wrestling,flipping pancake"

"xclip-native <command> --help" explains a command.`;

/** The command line as a parser; every command prints through terminal.ts and throws CodedErrors. */
export function createProgram(): Command {
  const program = new Command('xclip-native')
    .description('X-CLIP video recognition: train, test, classify')
    .version(packageVersion(), '-V, --version', 'print the version')
    .helpOption('-h, --help', 'explain the command')
    .helpCommand('help [command]', 'explain a command')
    .addHelpText('after', examples)
    .enablePositionalOptions()
    .exitOverride()
    .configureOutput({ outputError: () => {} });
  for (const add of [
    addTrain,
    addTest,
    addLaunch,
    addClassify,
    addInfo,
    addConvert,
    addData,
    addDemo,
    addDoctor,
    addBuild,
  ])
    add(program);
  return program;
}

async function main(): Promise<void> {
  exitOnLostOutput();
  printOwnWarnings();
  try {
    await createProgram().parseAsync(normalizeArguments(process.argv.slice(2)), { from: 'user' });
  } catch (error) {
    if (error instanceof CommanderError && error.exitCode === 0) return; // --help, --version
    printError(error instanceof CommanderError ? usageError(error) : error);
    process.exitCode = 1;
  }
}

function usageError({ code, message }: CommanderError): CodedError {
  const problem =
    code === 'commander.help'
      ? 'no command was given'
      : message
          .replace(/^error: |\.$/g, '')
          .replace(/\. (\w)/, (_, letter: string) => `: ${letter.toLowerCase()}`)
          .replaceAll('\n', ' ');
  const [, word] = /^unknown option '(-.*?)'/.exec(problem) ?? [];
  const remedy =
    word && existsSync(word) ? `the file of that name is ./${word}` : '--help says what there is';
  return new CodedError('ERR_USAGE', `${problem}; ${remedy}`);
}

if (require.main === module) void main();
