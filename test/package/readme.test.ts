import { execFileSync } from 'node:child_process';
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Command } from 'commander';
import { normalizeArguments } from '../../lib/cli/arguments';
import { createProgram } from '../../lib/cli/main';
import { type ConfigFlags, loadConfig } from '../../lib/config/load';
import { writeTorch } from '../../lib/io';
import { rawStateDict, XCLIP } from '../../lib/models';
import { buildCli } from '../support/built_cli';
import { fixturePath } from '../support/fixture';
import { root } from '../support/packed';
import { TINY } from '../support/tiny_geometry';

const readme = readFileSync(join(root, 'README.md'), 'utf8');

/** The contents of the fenced blocks of a language. */
function blocks(text: string, language: string): string[] {
  return Array.from(
    text.matchAll(new RegExp(`^\`\`\`${language}\\n([\\s\\S]*?)^\`\`\``, 'gm')),
    ([, code]) => code!,
  );
}

let folder: string;
beforeAll(() => {
  buildCli();
  folder = mkdtempSync(join(tmpdir(), 'readme-'));
  mkdirSync(join(folder, 'node_modules'));
  symlinkSync(root, join(folder, 'node_modules/xclip-native'));
});
afterAll(() => rmSync(folder, { recursive: true }));

/** Runs a program as a user would who copied it; returns the lines that it prints. */
function runCopied(code: string): string[] {
  writeFileSync(join(folder, 'example.mjs'), code);
  const printed = execFileSync(process.execPath, ['example.mjs'], { cwd: folder, encoding: 'utf8' });
  return printed.trim().split('\n');
}

test('the library example fits on a screen, runs, and its loss falls', () => {
  const [code] = blocks(readme.slice(readme.indexOf('<!-- example')), 'js');
  expect(code!.split('\n').length).toBeLessThanOrEqual(40);
  const losses = runCopied(code!).map((line) => Number(line.split(' ')[1]));
  expect(losses.length).toBeGreaterThan(2);
  for (const [i, loss] of losses.entries()) if (i > 0) expect(loss).toBeLessThan(losses[i - 1]!);
  expect(losses.at(-1)).toBeLessThan(0.05);
});

test('the model example names what a clip shows', async () => {
  const code = blocks(readme, 'js').find((block) => block.includes('XCLIP.load'))!;
  const model = new XCLIP({ ...TINY, vocabSize: 49408 }, { seed: 1, device: 'cpu' });
  await writeTorch(join(folder, 'k400_32_8.pth'), { model: rawStateDict(model) });
  model.dispose();
  for (const name of ['clip.mp4', 'match.mp4']) {
    copyFileSync(fixturePath('video/h264_b_frames.mp4'), join(folder, name));
  }
  const lines = runCopied(code);
  expect(lines.slice(2)).toEqual([expect.stringMatching(/^0 [\d.]+ (serve|rally)$/)]); // shorter than a window
  const ranked = lines.slice(0, 2).map((line) => /^(.+) ([\d.e-]+)$/.exec(line)!);
  expect(ranked.map(([, label]) => label).sort()).toEqual(['abseiling', 'zumba']);
  expect(ranked.reduce((sum, [, , probability]) => sum + Number(probability), 0)).toBeCloseTo(1, 5);
});

/** Words of a command line, as a shell would see them; quotes and joined lines are all that is understood. */
function wordsOf(line: string): string[] {
  return Array.from(line.matchAll(/"([^"]*)"|(\S+)/g), ([, quoted, plain]) => quoted ?? plain!);
}

/** Command lines in a text: `xclip-native …` behind `npx`, `$` or at the start of a line. */
function commandLines(text: string): string[] {
  const joined = text.replaceAll(/\\\n\s*/g, '');
  return Array.from(joined.matchAll(/^\s*(?:\$ )?(?:npx )?xclip-native (.+)$/gm), ([, line]) => line!);
}

/** A command and the commands below it. */
function withSubcommands(command: Command): Command[] {
  return [command, ...command.commands.flatMap(withSubcommands)];
}

/** Parses a command line with the real parser, without running anything, and reads the configuration that it names. */
async function parse(line: string): Promise<void> {
  const parser = createProgram();
  let flags: Record<string, unknown> = {};
  for (const command of withSubcommands(parser).filter(({ commands }) => commands.length === 0)) {
    command.action((...values) => {
      flags = values.at(-2);
    });
  }
  await parser.parseAsync(normalizeArguments(wordsOf(line.replace(/\s+#.*$/, ''))), { from: 'user' });
  const cfg = flags.cfg as string | undefined;
  // A run's own configuration, out/config.yaml, has the keys of any other.
  const file = cfg && existsSync(join(root, cfg)) ? cfg : undefined;
  const { batchSize, accumulationSteps, pretrained, resume, output, onlyTest, referenceSampling } =
    flags as ConfigFlags;
  const ofRuns = { batchSize, accumulationSteps, pretrained, resume, output, onlyTest, referenceSampling };
  loadConfig({ cfg: file, opts: flags.opts as string[] | undefined, flags: ofRuns });
}

const shown = blocks(readme, 'sh').flatMap(commandLines);
const helps = withSubcommands(createProgram()).map((command) => {
  let text = '';
  command.configureOutput({ writeOut: (piece) => (text += piece) });
  command.outputHelp();
  return [command.name(), text] as const;
});
const examples = helps.flatMap(([, text]) => commandLines(text.slice(text.indexOf('Examples:'))));

test('there are command lines to check', () => {
  expect(shown.length).toBeGreaterThan(3);
  expect(examples.length).toBeGreaterThan(5);
});

test.each([...new Set([...shown, ...examples])])('xclip-native %s', (line) => parse(line));

test.each([
  'classify clip.mp4',
  'train -cfg configs/k400/32_8.yaml --outptu out',
  'train -cfg configs/k400/32_8.yaml --opts DATA.ROTO x',
])('the check refuses %s', async (line) => {
  await expect(parse(line)).rejects.toMatchObject({ code: expect.any(String) });
});

test('every command says what it and its options are for', () => {
  for (const [name, text] of helps) {
    expect([name, text]).toEqual([name, expect.stringMatching(/^Usage: xclip-native [\w[]/)]);
    const listed = text.slice(text.indexOf('\nOptions:')).split('\n\n')[0]!;
    const bare = listed
      .split('\n')
      .filter((line) => /^ {2}-/.test(line) && !/ {2}\S+.* {2,}\S/.test(line.trimEnd()));
    expect([name, bare]).toEqual([name, []]);
  }
});

test('scripts, files and commands that the text names exist', () => {
  const { scripts } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as {
    scripts: Record<string, string>;
  };
  const named = Array.from(readme.matchAll(/npm run ([\w:]+)/g), ([, name]) => name!);
  expect(named.filter((name) => !(name in scripts))).toEqual([]);
  const links = Array.from(readme.matchAll(/\]\((?!https?:)([^)#]+)/g), ([, path]) => path!);
  const folders = Array.from(readme.matchAll(/^\| `(\w+)\/`/gm), ([, path]) => path!);
  expect([...links, ...folders].filter((path) => !existsSync(join(root, path)))).toEqual([]);
});
