import { readFile } from 'node:fs/promises';
import type { SampleFailure } from '../data/batch';
import type { VideoDataset } from '../data/video_dataset';
import { writeAtomically } from '../io';
import type { Evaluation, Prediction } from './evaluate';
import type { EngineEvent, TestEnd, TrainStep } from './events';
import { frameStrip } from './frame_strip';
import { confusionMatrix, escapeHtml, lineChart } from './report_charts';
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
 * the most confident mistakes and hits as strips of the frames that the model saw, and bad videos.
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
    curves(data.events),
    perClass(data),
    confusions(data),
    await clips('Most confident mistakes', mistakes, data),
    await clips('Recognised', hits, data),
    badVideos('Videos that could not be read', data.evaluation.failures),
    badVideos('Videos with damaged frames', data.evaluation.damaged),
  ];
  const page = `<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>${escapeHtml(data.title)}</title><style>${style}</style></head>
<body><h1>${escapeHtml(data.title)}</h1>
${sections.filter(Boolean).join('\n')}
</body></html>
`;
  const bytes = Buffer.from(page);
  await writeAtomically(path, bytes.length, (file) => file.append(bytes), { signal });
}

/**
 * The records of the present run in a metrics.jsonl. Where a resumed run repeated steps, the later record counts. A last line that a
 * crash cut short is left out.
 */
export async function readMetrics(path: string): Promise<EngineEvent[]> {
  const text = await readFile(path, 'utf8').catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return '';
    throw error;
  });
  const records = new Map<string, EngineEvent>();
  text.split('\n').forEach((line, i) => {
    const event = parseRecord(line);
    if (!event) return;
    if ((event.kind as string) === RUN_BEGINS) records.clear();
    const key = event.kind === 'train' ? `train ${event.epoch} ${event.step}` : `${event.kind} ${i}`;
    records.delete(key);
    records.set(key, event);
  });
  return [...records.values()];
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

function curves(events: readonly EngineEvent[]): string {
  const train = events.filter((event): event is TrainStep => event.kind === 'train');
  const tests = events.filter(
    (event): event is TestEnd & { epoch: number } => event.kind === 'accuracy' && event.epoch !== null,
  );
  const at = (event: TrainStep) => event.epoch + event.step / event.steps;
  return [
    lineChart('Training loss', 'epoch', [
      { name: 'loss', points: train.map((event) => [at(event), event.loss]) },
    ]),
    lineChart('Learning rate', 'epoch', [
      { name: 'learning rate', points: train.map((event) => [at(event), event.lr]) },
    ]),
    lineChart('Validation accuracy in percent', 'epoch', [
      { name: 'top-1', points: tests.map((event) => [event.epoch + 1, event.top1]) },
      { name: 'top-5', points: tests.map((event) => [event.epoch + 1, event.top5]) },
    ]),
  ].join('\n');
}

function perClass({ classNames, evaluation }: ReportData): string {
  const rows = classResults(evaluation.predictions, classNames)
    .flatMap(({ accuracy, ...rest }) => (accuracy === null ? [] : { accuracy, ...rest }))
    .sort((a, b) => a.accuracy - b.accuracy)
    .map(
      ({ name, videos, correct, accuracy }) =>
        `<tr><td>${escapeHtml(name)}</td><td>${accuracy.toFixed(1)} %</td><td>${correct} of ${videos}</td></tr>`,
    );
  return `<h2>Accuracy of each class, lowest first</h2><div class="classes"><table class="facts">${rows.join('')}</table></div>`;
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
    return `<h2>Confusion matrix</h2><p>Rows: what the video shows. Columns, in the same order: what the model said.</p>${confusionMatrix(classNames, dense)}`;
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
  return `<h2>Most frequent confusions</h2><table class="facts"><tr><th>shown</th><th>said</th><th>videos</th></tr>${rows.join('')}</table>`;
}

async function clips(heading: string, list: readonly Prediction[], data: ReportData): Promise<string> {
  if (list.length === 0) return '';
  const figures: string[] = [];
  for (const prediction of list) figures.push(await clip(prediction, data));
  return `<h2>${heading}</h2><div class="clips">${figures.join('\n')}</div>`;
}

async function clip(prediction: Prediction, { dataset, classNames }: ReportData): Promise<string> {
  const { source, name } = dataset.at(prediction.index);
  const strip = await frameStrip(source);
  const percent = (value: number) => `${(100 * value).toFixed(1)} %`;
  const said = `${classNames[prediction.predicted]} ${percent(prediction.probability)}`;
  const truth =
    prediction.rank === 0
      ? ''
      : `, shows <b>${escapeHtml(classNames[prediction.label]!)}</b> ${percent(prediction.labelProbability)}`;
  return `<figure><img alt="${escapeHtml(name)}" src="data:image/png;base64,${strip.toString('base64')}"><figcaption>${escapeHtml(name)}: <b>${escapeHtml(said)}</b>${truth}</figcaption></figure>`;
}

function badVideos(heading: string, list: readonly SampleFailure[]): string {
  if (list.length === 0) return '';
  const rows = list.map(
    ({ where, path, reason }) =>
      `<tr><td>${escapeHtml(where)}</td><td>${escapeHtml(path)}</td><td>${escapeHtml(reason)}</td></tr>`,
  );
  return `<h2>${heading}</h2><table class="facts">${rows.join('')}</table>`;
}

function oneOfEachClass(predictions: readonly Prediction[]): Prediction[] {
  return [
    ...new Map([...predictions].reverse().map((prediction) => [prediction.label, prediction])).values(),
  ].reverse();
}

const style = `
body{font:15px/1.45 system-ui,sans-serif;max-width:1100px;margin:2em auto;padding:0 1em;color:#1c2430;background:#fff}
h1{font-size:1.5em}h2{font-size:1.15em;margin-top:2em}figure{margin:0 0 1em}figcaption{font-size:.9em}
svg{width:100%;max-width:720px;height:auto;font-size:11px}svg text{fill:#5b6675}.grid{stroke:#e3e7ee}
table{border-collapse:collapse}.facts th,.facts td{text-align:left;padding:.15em 1em .15em 0;vertical-align:top}
.matrix{font-size:10px}.matrix th{text-align:right;font-weight:normal;padding-right:.5em;white-space:nowrap}
.matrix td{width:12px;height:12px;min-width:11px;border:1px solid #eef1f5;text-align:center;padding:0}
.classes{max-height:26em;overflow-y:auto;display:inline-block;padding-right:1em}
.clips img{width:100%;image-rendering:auto;border-radius:3px}`;
