import { readFile } from 'node:fs/promises';
import type { SampleFailure } from '../data/batch';
import type { VideoDataset } from '../data/video_dataset';
import { videoFault } from '../data/video_fault';
import { writeAtomically } from '../io';
import { readError } from '../io/file_bytes';
import type { Evaluation, Prediction } from './evaluate';
import type { EngineEvent, TestEnd, TrainStep } from './events';
import { frameStrip } from './frame_strip';
import { confusionMatrix, escapeHtml, lineChart } from './report_charts';
import { reportStyle } from './report_style';
import { classResults } from './results';
import { RUN_BEGINS } from './run_log';

/** What a report shows. */
export interface ReportData {
  title: string;
  /** Rows of the table at the top. */
  facts: readonly (readonly [name: string, value: string])[];
  /** Records of metrics.jsonl; may be empty. */
  events: readonly EngineEvent[];
  classNames: readonly string[];
  /** The evaluation that the confusions and clips are of. */
  evaluation: Evaluation;
  dataset: VideoDataset;
}

/** Classes up to which the whole confusion matrix is shown; above, the most frequent confusions. */
const matrixLimit = 80;
const shownConfusions = 40;
const shownClips = 12;

/**
 * Writes a page that needs nothing else: curves of loss, learning rate and accuracy, the accuracy of each class, confusions,
 * the most confident mistakes and hits as strips of frames, and bad videos.
 *
 * @throws ERR_FILE_WRITE, ERR_ABORTED
 */
export async function writeReport(path: string, data: ReportData, signal?: AbortSignal): Promise<void> {
  const { predictions } = data.evaluation;
  const byProbability = [...predictions].sort((a, b) => b.probability - a.probability);
  const mistakes = byProbability.filter(({ rank }) => rank > 0).slice(0, shownClips);
  const hits = oneOfEachClass(byProbability.filter(({ rank }) => rank === 0)).slice(0, shownClips);
  const sections = [
    facts(data.facts),
    curves(data),
    perClass(data),
    confusions(data),
    await clips('Most confident mistakes', mistakes, data, signal),
    await clips('Recognised', hits, data, signal),
    badVideos('Videos that could not be read', data.evaluation.failures),
    badVideos('Videos with damaged frames', data.evaluation.damaged),
  ];
  const page = `<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>${escapeHtml(data.title)}</title><style>${reportStyle}</style></head>
<body><h1>${escapeHtml(data.title)}</h1>
${sections.filter(Boolean).join('\n')}
</body></html>
`;
  const bytes = Buffer.from(page);
  await writeAtomically(path, bytes.length, (file) => file.append(bytes), { signal });
}

/**
 * The records of the present run in a metrics.jsonl. Where a resumed run repeated steps and tests, the later record counts.
 * A last line that a crash cut short is left out.
 *
 * @throws ERR_FILE_READ
 */
export async function readMetrics(path: string): Promise<EngineEvent[]> {
  const text = await readFile(path, 'utf8').catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return '';
    throw readError(path, error);
  });
  const records = new Map<string, EngineEvent>();
  text.split('\n').forEach((line, i) => {
    const event = parseRecord(line);
    if (!event) return;
    if ((event.kind as string) === RUN_BEGINS) records.clear();
    const key = momentOf(event) ?? `line ${i}`;
    records.delete(key);
    records.set(key, event);
  });
  return [...records.values()];
}

/** What two records of the same step, epoch or test of a training have in common; undefined for others. */
function momentOf(event: EngineEvent): string | undefined {
  if (event.kind === 'train') return `train ${event.epoch} ${event.step}`;
  if (event.kind !== 'epoch' && event.kind !== 'accuracy') return undefined;
  return event.epoch === null ? undefined : `${event.kind} ${event.epoch}`;
}

function parseRecord(line: string): EngineEvent | undefined {
  try {
    return JSON.parse(line) as EngineEvent;
  } catch {
    return undefined; // empty, or cut short by a crash
  }
}

function facts(rows: ReportData['facts']): string {
  const cells = rows.map(
    ([name, value]) => `<tr><th>${escapeHtml(name)}</th><td>${escapeHtml(value)}</td></tr>`,
  );
  return `<table class="facts">${cells.join('')}</table>`;
}

function curves({ events, classNames: { length: classes } }: ReportData): string {
  const train = events.filter((event): event is TrainStep => event.kind === 'train');
  const tests = events.filter(
    (event): event is TestEnd & { epoch: number } => event.kind === 'accuracy' && event.epoch !== null,
  );
  const at = (event: TrainStep) => event.epoch + event.step / event.steps;
  const charts = [
    lineChart('Training loss', 'epoch', [
      { name: 'loss', points: train.map((event) => [at(event), event.loss]) },
    ]),
    lineChart('Learning rate', 'epoch', [
      { name: 'learning rate', points: train.map((event) => [at(event), event.lr]) },
    ]),
    lineChart(
      'Validation accuracy in percent',
      'epoch',
      [
        { name: 'top-1', points: tests.map((event) => [event.epoch + 1, event.top1]) },
        { name: `top-${Math.min(5, classes)}`, points: tests.map((event) => [event.epoch + 1, event.top5]) },
      ],
      1,
    ),
  ];
  return charts.some(Boolean) ? `<div class="charts">${charts.join('\n')}</div>` : '';
}

function perClass({ classNames, evaluation }: ReportData): string {
  const rows = classResults(evaluation.predictions, classNames)
    .flatMap(({ accuracy, ...rest }) => (accuracy === null ? [] : { accuracy, ...rest }))
    .sort((a, b) => a.accuracy - b.accuracy)
    .map(
      ({ name, videos, correct, accuracy }) =>
        `<tr><td>${escapeHtml(name)}</td><td class="number">${accuracy.toFixed(1)} %</td><td class="number">${correct} of ${videos}</td>` +
        `<td class="bar"><i style="width:${accuracy.toFixed(1)}%"></i></td></tr>`,
    );
  return `<h2>Accuracy of each class, lowest first</h2><div class="scroll"><table class="facts">${rows.join('')}</table></div>`;
}

function confusions({ classNames, evaluation }: ReportData): string {
  const classes = classNames.length;
  const counts = new Map<number, number>();
  for (const { label, predicted } of evaluation.predictions) {
    const cell = label * classes + predicted;
    counts.set(cell, (counts.get(cell) ?? 0) + 1);
  }
  if (classes <= matrixLimit) {
    const dense = Array.from({ length: classes * classes }, (_, cell) => counts.get(cell) ?? 0);
    return `<h2>Confusion matrix</h2><p>Rows: what the video shows. Columns, in the same order: what the model said.</p><div class="wide">${confusionMatrix(classNames, dense)}</div>`;
  }
  const rows = [...counts]
    .map(([cell, count]) => ({ label: Math.floor(cell / classes), predicted: cell % classes, count }))
    .filter(({ label, predicted }) => label !== predicted)
    .sort((a, b) => b.count - a.count)
    .slice(0, shownConfusions)
    .map(
      ({ label, predicted, count }) =>
        `<tr><td>${escapeHtml(classNames[label]!)}</td><td>${escapeHtml(classNames[predicted]!)}</td><td>${count}</td></tr>`,
    );
  return `<h2>Most frequent confusions</h2><table class="facts"><thead><tr><th>shown</th><th>said</th><th>videos</th></tr></thead>${rows.join('')}</table>`;
}

async function clips(
  heading: string,
  list: readonly Prediction[],
  data: ReportData,
  signal?: AbortSignal,
): Promise<string> {
  if (list.length === 0) return '';
  const figures: string[] = [];
  for (const prediction of list) {
    figures.push(await clip(prediction, data, signal));
  }
  return `<h2>${heading}</h2><div class="clips">${figures.join('\n')}</div>`;
}

async function clip(
  prediction: Prediction,
  { dataset, classNames }: ReportData,
  signal?: AbortSignal,
): Promise<string> {
  const { source, name } = dataset.at(prediction.index);
  const strip = await frameStrip(source, signal).then(
    (png) => `<img alt="${escapeHtml(name)}" src="data:image/png;base64,${png.toString('base64')}">`,
    (error) => noPicture(error),
  );
  const percent = (value: number) => `${(100 * value).toFixed(1)}\u00a0%`; // the sign stays on the line of its number
  const said = `${classNames[prediction.predicted]} ${percent(prediction.probability)}`;
  const truth =
    prediction.rank === 0
      ? ''
      : `, shows <b>${escapeHtml(classNames[prediction.label]!)}</b> ${percent(prediction.labelProbability)}`;
  return `<figure>${strip}<figcaption>${escapeHtml(name)}: <b>${escapeHtml(said)}</b>${truth}</figcaption></figure>`;
}

/** In place of a strip: other frames of the video than those that were tested may be damaged. @throws other errors */
function noPicture(error: unknown): string {
  const fault = videoFault(error);
  if (!fault) throw error;
  return `<div class="none">${escapeHtml(fault.reason)}</div>`;
}

function badVideos(heading: string, list: readonly SampleFailure[]): string {
  if (list.length === 0) return '';
  const rows = list.map(({ where, path, reason }) => {
    const why = reason.startsWith(`${path}: `) ? reason.slice(path.length + 2) : reason;
    return `<tr><td>${escapeHtml(where)}</td><td>${escapeHtml(path)}</td><td>${escapeHtml(why)}</td></tr>`;
  });
  return `<h2>${heading}</h2><table class="facts"><thead><tr><th>line of the list</th><th>video</th><th>reason</th></tr></thead>${rows.join('')}</table>`;
}

function oneOfEachClass(predictions: readonly Prediction[]): Prediction[] {
  return [
    ...new Map([...predictions].reverse().map((prediction) => [prediction.label, prediction])).values(),
  ].reverse();
}
