import { join } from 'node:path';
import { withReason } from '../base/abort';
import { checkKnownOptions, type KnownOptions } from '../base/check';
import { CodedError, hasCode } from '../base/error';
import { configToYaml } from '../config/load';
import type { Config } from '../config/schema';
import type { ListingOptions } from '../data/sources/listing';
import type { ProcessGroup } from '../distributed/process_group';
import { readCheckpoint } from '../io';
import { removeAbandoned } from '../io/atomic_file';
import { makeFolder, writeText } from '../io/text_file';
import { createTask, type Task } from '../models';
import {
  type Device,
  float32MatmulPrecision,
  resolveDevice,
  setFloat32MatmulPrecision,
} from '../native/device';
import { native } from '../native/load';
import { videoAddon } from '../native/video';
import { oncePerVideo } from './bad_samples';
import { newestCheckpoint } from './checkpoint';
import { accuracyEvent, evaluateViews, type RunContext, type ViewEvaluation } from './context';
import type { Listener } from './events';
import { readMetrics, writeReport } from './report';
import { resultsOf, writeResults } from './results';
import { METRICS_FILE, runLog } from './run_log';
import { classNamesOf, datasetOf, requireFile } from './setup';
import { train } from './train';

/** Names of two files that a run leaves in its output folder. */
export const REPORT_FILE = 'report.html';
export const CONFIG_FILE = 'config.yaml';

export interface RunOptions {
  /** Threads that compute on the CPU (default: all cores). */
  threads?: number;
  /** Training: saves a checkpoint and stops with ERR_ABORTED. Testing: stops with ERR_ABORTED. */
  signal?: AbortSignal;
  /** Told what happens. */
  listener?: Listener;
  /**
   * The processes that share the work, each of which runs this with the same configuration (default: none but this one).
   * Rank 0 alone writes files; all get the same result.
   */
  group?: ProcessGroup | null;
}

const keys: KnownOptions<RunOptions> = { threads: true, signal: true, listener: true, group: true };

export interface RunResult {
  /** The last evaluation: multi-view after training, else as TEST says. */
  evaluation: ViewEvaluation;
  /** Best top-1 after an epoch, in percent; null when only tested. */
  maxAccuracy: number | null;
  classNames: readonly string[];
}

/**
 * Does what a configuration says: trains and tests after each epoch, with a multi-view test at the end, or, with
 * TEST.ONLY_TEST, tests the checkpoint MODEL.RESUME. In OUTPUT (unless it is '') it leaves the configuration, the log,
 * metrics, checkpoints, a report, and the results with the protocol of the test as JSON.
 *
 * @throws CodedErrors of every part; anything wrong in the configuration, the lists or the checkpoint comes before the
 *   first step, and before anything is written
 *
 * @example
 * const config = loadConfig({ cfg: 'configs/k400/32_8.yaml', flags: { resume: 'k400_32_8.pth', onlyTest: true } });
 * const { evaluation } = await run(config, { listener: (event) => console.log(logLines(event).join('\n')) });
 */
export async function run(asked: Config, options: RunOptions = {}): Promise<RunResult> {
  checkKnownOptions('run', options, keys);
  const { group = null } = options;
  const config = group ? await configIn(group, asked) : asked;
  const classNames = classNamesOf(config);
  const listing: ListingOptions = {
    signal: options.signal,
    onListing: (archive, done, total) => options.listener?.({ kind: 'listing', archive, done, total }),
  };
  const validation = await datasetOf(config, 'VAL_FILE', listing);
  const training = config.TEST.ONLY_TEST ? null : await datasetOf(config, 'TRAIN_FILE', listing);
  if (config.MODEL.PRETRAINED) await requireFile('MODEL.PRETRAINED', config.MODEL.PRETRAINED);
  const resume = await resumeFile(asked, group);
  if (options.threads !== undefined) native().setThreads(options.threads);
  const checkpoint = resume === null ? null : await readCheckpoint(resume);
  // Where the model computes on the same cores, decoding leaves them to it.
  const onCpu = resolveDevice(config.MODEL.DEVICE as Device) === 'cpu';
  videoAddon().setWorkerCount(config.DATA.NUM_WORKERS, onCpu);
  let task: Task | undefined;
  let log: Listener | undefined;
  const precision = float32MatmulPrecision();
  try {
    if (config.TRAIN.FLOAT32_MATMUL === 'high') setFloat32MatmulPrecision('high');
    task = await createTask(config, classNames, { signal: options.signal });
    const loaded = { config, task, validation, checkpoint, signal: options.signal, group };
    const emit = oncePerVideo((event) => {
      log?.(event);
      options.listener?.(event);
    });
    const work = training
      ? await train({ ...loaded, emit }, training, begin)
      : await test({ ...loaded, emit }, begin);
    if (config.OUTPUT !== '') await report(loaded, work.evaluation);
    return { ...work, classNames };
  } catch (error) {
    const { message, code } = error as CodedError;
    const text = hasCode(error, 'ERR_ABORTED') ? message : `error ${code}: ${message}`;
    try {
      log?.({ kind: 'message', text });
    } catch {
      // On a full disk the log fails as well: what came first is the one to tell.
    }
    throw withReason(error, options.signal);
  } finally {
    setFloat32MatmulPrecision(precision);
    videoAddon().setWorkerCount(config.DATA.NUM_WORKERS);
    task?.dispose();
    await checkpoint?.close();
  }

  // Called when the checkpoint has been found to fit: from here on files are written.
  async function begin(): Promise<void> {
    if (config.OUTPUT === '') return;
    await makeFolder(config.OUTPUT);
    if (training) await removeAbandoned(config.OUTPUT); // a test may look on while another machine trains into it
    log = runLog(config.OUTPUT, checkpoint !== null);
    await writeText(join(config.OUTPUT, CONFIG_FILE), configToYaml(config));
  }
}

/**
 * The configuration for this process of a job: each has a GPU of its own machine's, and rank 0 alone writes.
 *
 * @throws ERR_CONFIG_VALUE when the processes were started with different configurations, ERR_DEVICE when one has no GPU
 *   and another does
 */
async function configIn(group: ProcessGroup, config: Config): Promise<Config> {
  const everyone = await group.exchange(configToYaml(config));
  const other = everyone.findIndex((theirs) => theirs !== everyone[0]);
  if (other >= 0) {
    throw new CodedError(
      'ERR_CONFIG_VALUE',
      `rank ${other} was started with another configuration than rank 0`,
    );
  }
  const device = resolveDevice(config.MODEL.DEVICE as Device);
  const devices = await group.exchange(device);
  const unlike = devices.findIndex((theirs) => theirs !== devices[0]);
  if (unlike >= 0) {
    throw new CodedError(
      'ERR_DEVICE',
      `rank ${unlike} would compute on ${devices[unlike]}, rank 0 on ${devices[0]}; --device names the one that all have`,
    );
  }
  const own = device === 'cuda' && !config.MODEL.DEVICE.includes(':') ? `cuda:${group.localRank}` : device;
  return {
    ...config,
    MODEL: { ...config.MODEL, DEVICE: own },
    OUTPUT: group.rank === 0 ? config.OUTPUT : '',
  };
}

/**
 * The checkpoint to continue from; with TRAIN.AUTO_RESUME the newest one in OUTPUT comes before MODEL.RESUME. In a job it
 * is the one that rank 0 finds.
 */
async function resumeFile(config: Config, group: ProcessGroup | null): Promise<string | null> {
  const file = await resumeFileHere(config);
  return group ? group.first(file) : file;
}

async function resumeFileHere({ TRAIN, MODEL, OUTPUT, TEST }: Config): Promise<string | null> {
  if (TRAIN.AUTO_RESUME && OUTPUT === '') {
    throw new CodedError('ERR_CONFIG_VALUE', 'TRAIN.AUTO_RESUME needs OUTPUT, the folder that it looks into');
  }
  const newest = TRAIN.AUTO_RESUME ? await newestCheckpoint(OUTPUT) : null;
  const file = newest ?? MODEL.RESUME;
  if (file) await requireFile('MODEL.RESUME', file);
  if (!file && TEST.ONLY_TEST) {
    throw new CodedError('ERR_CONFIG_VALUE', 'there is nothing to test: name a checkpoint with --resume');
  }
  return file;
}

async function test(
  context: RunContext,
  begin: () => Promise<void>,
): Promise<{ evaluation: ViewEvaluation; maxAccuracy: null }> {
  const { config, task, checkpoint, signal } = context;
  await task.load(checkpoint!.path, { signal });
  await begin();
  const views = { clips: config.TEST.NUM_CLIP, crops: config.TEST.NUM_CROP };
  const evaluation = await evaluateViews(context, views, config.SEED);
  context.emit(accuracyEvent(evaluation, views, null, null));
  return { evaluation, maxAccuracy: null };
}

async function report(
  { config, task, validation, checkpoint, signal }: Omit<RunContext, 'emit' | 'group'>,
  evaluation: ViewEvaluation,
): Promise<void> {
  const { DATA, MODEL, OUTPUT, TEST } = config;
  const tested = TEST.ONLY_TEST ? checkpoint!.path : null;
  await writeResults(OUTPUT, resultsOf(config, validation, task.classNames, evaluation, tested));
  const percent = (value: number) => `${value.toFixed(2)} %`;
  await writeReport(
    join(OUTPUT, REPORT_FILE),
    {
      title: `${DATA.DATASET}: ${MODEL.ARCH}, ${DATA.NUM_FRAMES} frames`,
      facts: [
        ['Top-1 accuracy of the last test', percent(evaluation.top1)],
        [`Top-${Math.min(5, task.classNames.length)} accuracy of the last test`, percent(evaluation.top5)],
        ['Test videos', `${evaluation.predictions.length} (${DATA.VAL_FILE})`],
        ['Classes', String(task.classNames.length)],
        [
          'Views',
          `${evaluation.views.clips} clips x ${evaluation.views.crops} crops of ${DATA.NUM_FRAMES} frames, seed ${evaluation.seed}`,
        ],
        [
          'Bad test videos',
          `${evaluation.failures.length} not read (ON_ERROR ${DATA.ON_ERROR}), ${evaluation.damaged.length} with damaged frames`,
        ],
        TEST.ONLY_TEST ? ['Checkpoint', checkpoint!.path] : ['Training list', DATA.TRAIN_FILE],
      ],
      events: await readMetrics(join(OUTPUT, METRICS_FILE)),
      classNames: task.classNames,
      evaluation,
      dataset: validation,
    },
    signal,
  );
}
