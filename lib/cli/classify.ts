import type { Command } from 'commander';
import { CodedError } from '../base/error';
import { readLabels } from '../data/labels';
import { videoFault } from '../data/video_fault';
import { type Classification, type ComputeDtype, type TimelineEntry, XCLIP } from '../models';
import { native } from '../native/load';
import type { Device } from '../tensor/tensor';
import { integerFrom, pictureSize, secondsAbove0 } from './arguments';
import { interruptible } from './interrupt';
import { print, printError } from './terminal';
import { trainedClasses } from './trained_classes';

interface ClassifyFlags {
  checkpoint: string;
  labels: string;
  zeroShot?: boolean;
  top: number;
  clips: number;
  crops: '1' | '3';
  window?: number;
  stride?: number;
  pictures?: { width: number; height: number; fps: number };
  deadline: number;
  json?: boolean;
  device: Device;
  dtype: ComputeDtype;
  threads?: number;
}

const examples = `
Examples:
  $ xclip-native classify clip.mp4 --checkpoint k400_32_8.pth --labels labels/kinetics_400_labels.csv
  $ xclip-native classify *.mp4 --checkpoint k400_32_8.pth --labels "arm wrestling,flipping pancake" --json
  $ xclip-native classify match.mp4 --checkpoint k400_32_8.pth --labels labels.csv --window 4 --stride 2 --top 1
  $ ffmpeg -i rtsp://camera -vf scale=340:256 -r 16 -f rawvideo -pix_fmt rgb24 - |
      xclip-native classify - --pictures 340x256@16 --window 2 --checkpoint k400_32_8.pth --labels labels.csv

Names need not be those of the training: the model compares the video with what they say. A class table with more or
fewer classes than the training had is most often a mistake, so it needs --zero-shot.

A video that cannot be read does not keep the others from being named: its error is printed, with --json also as
{ path, error }, and the exit status is 1. Windows of "-" are printed as soon as they end, with --json one object a line.`;

/** Adds `classify`: which of the named classes do videos show? */
export function addClassify(program: Command): void {
  program
    .command('classify')
    .description('name what videos show')
    .argument('<clips...>', 'video files, or "-" for pictures on standard input')
    .requiredOption('--checkpoint <file>', 'weights: .pth, safetensors, or a Hugging Face folder')
    .requiredOption(
      '--labels <names>',
      'CSV file "id,name", such as labels/kinetics_400_labels.csv, or names separated by commas',
    )
    .option('--top <n>', 'classes shown per video', integerFrom(1), 5)
    .option('--clips <n>', 'sets of frames per video, scores averaged', integerFrom(1), 1)
    .addOption(program.createOption('--crops <n>', 'squares per frame').choices(['1', '3']).default('1'))
    .option(
      '--window <seconds>',
      'name each stretch of this length, from the beginning of the video to its end',
      secondsAbove0,
    )
    .option(
      '--stride <seconds>',
      'from the start of one window to that of the next (default: --window)',
      secondsAbove0,
    )
    .option(
      '--pictures <size>',
      'size and rate of the raw RGB pictures on "-", as WIDTHxHEIGHT@RATE (RATE a second)',
      pictureSize,
    )
    .option(
      '--deadline <seconds>',
      'how long opening a video may take, and again decoding it',
      integerFrom(1),
      60,
    )
    .option('--zero-shot', 'allow a class table with more or fewer classes than the training had')
    .option('--json', 'print JSON')
    .option('--device <name>', 'auto, cpu, cuda or cuda:N', 'auto')
    .addOption(
      program
        .createOption('--dtype <type>', 'precision')
        .choices(['float32', 'bfloat16', 'float16'])
        .default('float32'),
    )
    .option('--threads <n>', 'threads that compute (default: all cores)', integerFrom(1, 1024))
    .addHelpText('after', examples)
    .action(classify);
}

async function classify(clips: string[], flags: ClassifyFlags): Promise<void> {
  if (flags.stride !== undefined && flags.window === undefined) {
    throw new CodedError('ERR_USAGE', '--stride is the distance of windows: give --window too');
  }
  checkPictures(clips, flags);
  const names = readLabels(flags.labels);
  if (!flags.zeroShot) await checkClassCount(flags, names);
  if (flags.threads !== undefined) native().setThreads(flags.threads);
  await interruptible('stopping', async (signal) => {
    const { device, dtype, top: topK, clips: clipCount, deadline, window, stride } = flags;
    const model = await XCLIP.load(flags.checkpoint, { device, dtype, signal });
    try {
      const crops = Number(flags.crops) as 1 | 3;
      const options = { topK, clips: clipCount, crops, deadlineMs: 1000 * deadline, signal };
      const results: (Result | Failure)[] = [];
      let told = 0;
      const report = (result: Result) => {
        told++;
        if (!flags.json) show(result);
        else if (flags.pictures) print(JSON.stringify(result));
        else results.push(result);
      };
      // The next clip may be sound; whatever is not the fault of this one would meet it as well.
      const fail = (path: string, error: unknown) => {
        const fault = videoFault(error);
        if (fault === undefined) throw error;
        printError(error);
        process.exitCode = 1;
        results.push({ path, error: { code: fault.code, message: fault.reason } });
      };
      if (window === undefined) {
        for await (const { video, classes, error } of model.classifyEach(clips, names, options)) {
          if (error) fail(video as string, error);
          else report({ path: video as string, classes });
        }
      } else {
        for (const path of clips) {
          try {
            const video = flags.pictures ? { stream: process.stdin, ...flags.pictures } : path;
            for await (const part of model.timeline(video, names, { ...options, window, stride })) {
              report({ path, ...part });
            }
            if (flags.pictures && told === 0)
              throw new CodedError('ERR_VIDEO_EMPTY', 'standard input ended before a picture came');
          } catch (error) {
            fail(path, error);
          }
        }
      }
      if (flags.json && !flags.pictures) print(JSON.stringify(results, null, 2));
    } finally {
      model.dispose();
    }
  });
}

/** Refuses "-" without what is to be known of it, and what is said of it without "-". */
function checkPictures(clips: string[], { pictures, window }: ClassifyFlags): void {
  const isPiped = clips.includes('-');
  const problem =
    isPiped && !pictures
      ? '"-" is pictures on standard input: say --pictures WIDTHxHEIGHT@RATE'
      : pictures && !(isPiped && clips.length === 1)
        ? '--pictures is for "-", and "-" is given alone'
        : pictures && window === undefined
          ? 'pictures on standard input are looked at window by window: give --window'
          : pictures && process.stdin.isTTY
            ? 'standard input is a terminal, and pictures are to come from it'
            : undefined;
  if (problem) throw new CodedError('ERR_USAGE', problem);
}

/** Refuses a class table that is not of the training's length; names written out are always meant as they are. */
async function checkClassCount(
  { checkpoint, labels }: ClassifyFlags,
  names: readonly string[],
): Promise<void> {
  const trained = await trainedClasses(checkpoint);
  const isTable = /\.csv$/i.test(labels);
  if (!isTable || trained === undefined || trained === names.length) return;
  throw new CodedError(
    'ERR_LABELS',
    `${labels} has ${names.length} classes, but ${checkpoint} was trained on ${trained}; ` +
      'give the class table of its training, or --zero-shot to use this one',
  );
}

/** What is printed of a video, or of a window of it. */
interface Result extends Partial<TimelineEntry> {
  path: string;
  classes: Classification[];
}

/** In the place of results, or after those of the windows before it: why there are none. */
interface Failure {
  path: string;
  error: { code: string; message: string };
}

function show({ path, from, to, classes }: Result): void {
  print(from === undefined ? path : `${path}  ${from.toFixed(2)} to ${to!.toFixed(2)} s`);
  for (const { label, probability } of classes)
    print(`${(100 * probability).toFixed(2).padStart(8)} %  ${label}`);
}
