import { type KnownOptions, wrongKind } from '../../base/check';
import { CodedError } from '../../base/error';
import { Limiter } from '../../data/limiter';
import { type Classification, type ClassifyOptions, classifyKeys, classifyViews } from './classify';
import { checkFootage, type Footage, isRawFrames, readerOf } from './footage';
import { checkLive, isLive, type LivePictures, LiveWindows, SLACK } from './live_pictures';
import { checkViewOptions, readViews, viewsOfPictures } from './video_input';
import type { XCLIP } from './xclip';

export interface TimelineOptions extends ClassifyOptions {
  /** Seconds that are looked at at a time; the last part of a video may be shorter. */
  window: number;
  /** Seconds from the beginning of one window to that of the next (default: `window`). */
  stride?: number;
}

const timelineKeys: KnownOptions<TimelineOptions> = { ...classifyKeys, window: true, stride: true };

/** What a part of a video shows. */
export interface TimelineEntry {
  /** Seconds; frames shown from `from` on and before `to`. */
  from: number;
  to: number;
  classes: Classification[];
}

/** What the video shows, window by window: XCLIP.timeline. */
export async function* timeline(
  model: XCLIP,
  footage: Footage | LivePictures,
  names: readonly string[],
  options: TimelineOptions,
): AsyncGenerator<TimelineEntry, void> {
  if (!isLive(footage)) checkFootage('timeline', footage);
  checkViewOptions('timeline', options, timelineKeys);
  const { window, stride = window, seconds, ...rest } = options;
  for (const [key, value] of Object.entries({ window, stride })) {
    if (!(Number.isFinite(value) && value > 0))
      throw wrongKind('timeline', key, 'a number of seconds above 0', value);
  }
  if (isLive(footage)) {
    if (seconds)
      throw new CodedError('ERR_ARGUMENT', 'timeline: a stream is looked at from its beginning to its end');
    checkLive('timeline', footage);
    yield* liveTimeline(model, footage, names, { ...rest, window, stride });
    return;
  }
  if (isRawFrames(footage)) {
    throw new CodedError(
      'ERR_ARGUMENT',
      'pictures in memory have no times: classify a part of them at a time',
    );
  }
  const { reader, release } = await readerOf(footage, options);
  try {
    const { timestamps, length, fps } = reader;
    const [begin, end] = seconds ?? [timestamps[0]!, Number.POSITIVE_INFINITY];
    const over = Math.min(end, timestamps[length - 1]! + 1 / fps);
    const windows = function* () {
      for (let k = 0; ; k++) {
        const from = begin + k * stride; // not summed up, which would drift
        if ((over - from) * fps < SLACK) return;
        yield [from, Math.min(from + window, over)] as const;
      }
    };
    // One after the other: what damage each met on its way is read off their reader.
    const limiter = new Limiter(1);
    const read = (part: readonly [number, number], signal: AbortSignal) =>
      limiter.run(() => readViews(reader, model.geometry, { ...rest, seconds: part, signal }));
    for await (const outcome of classifyViews('timeline', model, windows(), read, names, rest)) {
      if (outcome.status === 'rejected') throw outcome.reason;
      const [from, to] = outcome.item;
      yield { from, to, classes: outcome.value };
    }
  } finally {
    release();
  }
}

/** The same of pictures that are still coming: each window as soon as it is over, while the next one comes in. */
async function* liveTimeline(
  model: XCLIP,
  live: LivePictures,
  names: readonly string[],
  { window, stride, ...options }: TimelineOptions & { stride: number },
): AsyncGenerator<TimelineEntry, void> {
  const windows = new LiveWindows(live, window, stride);
  const limiter = new Limiter(1); // one after the other
  const over = new Error('the stream is over');
  const parts = function* () {
    for (let k = 0; ; k++) yield { k, from: 0, to: 0 };
  };
  const read = (part: { k: number; from: number; to: number }, signal: AbortSignal) =>
    limiter.run(async () => {
      const found = await windows.read(part.k, signal);
      if (!found) throw over;
      Object.assign(part, { from: found.from, to: found.to });
      return viewsOfPictures(found.pictures, live, model.geometry, options);
    });
  try {
    for await (const outcome of classifyViews('timeline', model, parts(), read, names, options)) {
      if (outcome.status === 'fulfilled') {
        const { from, to } = outcome.item;
        yield { from, to, classes: outcome.value };
      } else if (outcome.reason === over) return;
      else throw outcome.reason;
    }
  } finally {
    windows.close();
  }
}
