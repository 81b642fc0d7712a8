import { checkKnownOptions, type KnownOptions } from '../base/check';
import { type CodedError, hasCode } from '../base/error';
import {
  type CancelToken,
  type VideoAddon,
  type VideoHandle,
  type VideoPlan,
  videoAddon,
} from '../native/video';
import { DiskFailures } from './disk_failures';
import { forEachVideo } from './for_each_video';
import {
  type BadVideo,
  endCutLine,
  fileStateOf,
  forgetChanged,
  type Outcome,
  readJournal,
  writeJournal,
} from './verify_journal';
import type { VideoDataset, VideoSample } from './video_dataset';

export { type BadVideo, forgetProgress } from './verify_journal';

/** What {@link verifyDataset} found. */
export interface VerifyReport {
  videos: number;
  /** Frames of the sound videos. */
  frames: number;
  bad: BadVideo[];
}

export interface VerifyOptions {
  /** File that remembers what is done, so that an interrupted check goes on; removed by {@link forgetProgress}. */
  journal: string;
  /** What is checked, as list and root; a journal of anything else does not count. */
  subject: string;
  /** Milliseconds that a piece of a video may take (default 60000). */
  deadlineMs?: number;
  signal?: AbortSignal;
  /** Told after each video. */
  onProgress?: (done: number, total: number, bad: number) => void;
}

const keys: KnownOptions<VerifyOptions> = {
  journal: true,
  subject: true,
  deadlineMs: true,
  signal: true,
  onProgress: true,
};

/** Frames decoded per call: between calls the check can stop. */
const piece = 64;

/**
 * Decodes every frame of every video. Each name is checked once, however many lines it has; after an interruption only those
 * are checked again whose files have another size or modification time than then.
 *
 * @throws ERR_ARGUMENT for a deadline that is none; ERR_ABORTED, ERR_SYSTEM (also: the disk refuses to read one video after the other), ERR_OUT_OF_MEMORY: what is
 *   done stays in the journal; ERR_FILE_WRITE
 */
export async function verifyDataset(dataset: VideoDataset, options: VerifyOptions): Promise<VerifyReport> {
  checkKnownOptions('verifyDataset', options, keys);
  const { journal, subject, signal, onProgress } = options;
  const samples = new Map(dataset.samples.map((sample) => [sample.name, sample]));
  const outcomes = await readJournal(journal, subject);
  await forgetChanged(outcomes, samples);
  if (outcomes.size === 0) await writeJournal(journal, { subject }, true);
  else await endCutLine(journal);

  const addon = videoAddon();
  let bad = [...outcomes.values()].filter((outcome) => 'bad' in outcome).length;
  const report = () => onProgress?.(outcomes.size, samples.size, bad);
  const refused = new DiskFailures<Outcome>();
  const note = async (outcome: Outcome): Promise<void> => {
    await writeJournal(journal, outcome);
    outcomes.set(outcome.name, outcome);
    if ('bad' in outcome) bad++;
    report();
  };
  report();
  const left = [...samples.values()].filter(({ name }) => !outcomes.has(name));
  const aborted = 'checking was aborted; the same command goes on';
  await forEachVideo(left, { signal, aborted }, async (sample, cancel) => {
    const begun = refused.now();
    const file = await fileStateOf(sample);
    const found = await decodeWhole(addon, sample, options.deadlineMs ?? 60000, cancel);
    const outcome: Outcome = { name: sample.name, file, ...found };
    if ('bad' in outcome && outcome.bad.code === 'ERR_FILE_IO') {
      return refused.add(outcome, outcome.bad.reason);
    }
    for (const held of refused.release(begun)) await note(held);
    await note(outcome);
  });
  for (const held of refused.release()) await note(held);
  const inOrder = [...samples.values()].map((sample) => ({ sample, outcome: outcomes.get(sample.name)! }));
  return {
    videos: inOrder.length,
    frames: inOrder.reduce((sum, { outcome }) => sum + ('frames' in outcome ? outcome.frames : 0), 0),
    // The line may be another one now.
    bad: inOrder.flatMap(({ sample, outcome }) =>
      'bad' in outcome ? [{ ...outcome.bad, where: sample.where }] : [],
    ),
  };
}

async function decodeWhole(
  addon: VideoAddon,
  sample: VideoSample,
  deadlineMs: number,
  cancel: CancelToken,
): Promise<{ frames: number } | { bad: BadVideo }> {
  const { name, where, location } = sample;
  let at = { frame: null as number | null, seconds: null as number | null };
  try {
    const video = await addon.openVideo(sample.source, { deadlineMs }, cancel);
    try {
      const { frameCount, timestamps } = addon.videoInfo(video);
      for (let first = 0; first < frameCount; first += piece) {
        const frames = Array.from({ length: Math.min(piece, frameCount - first) }, (_, i) => first + i);
        await decode(addon, video, frames, cancel).catch(async (error) => {
          if (endsCheck(error)) throw error;
          const frame = await firstBad(addon, video, frames, cancel);
          at = { frame, seconds: timestamps[frame] ?? null };
          throw error;
        });
      }
      return { frames: frameCount };
    } finally {
      addon.closeVideo(video);
    }
  } catch (error) {
    const { code = 'ERR_INTERNAL', message } = error as CodedError;
    if (endsCheck(error)) throw error;
    return { bad: { name, where, location, code, reason: message, ...at } };
  }
}

/** Not the video's fault, so that nothing may be noted of it. (A fault of ours is: it says which video brings it out.) */
function endsCheck(error: unknown): boolean {
  return (['ERR_ABORTED', 'ERR_ARGUMENT', 'ERR_OUT_OF_MEMORY', 'ERR_SYSTEM'] as const).some((code) =>
    hasCode(error, code),
  );
}

/** Decodes frames and keeps one pixel of each: decoding is checked, memory is not needed. */
async function decode(
  addon: VideoAddon,
  video: VideoHandle,
  frames: number[],
  cancel: CancelToken,
): Promise<void> {
  const plan: VideoPlan = {
    frames,
    resize: null,
    crops: [[0, 0, 1, 1]],
    size: 1,
    flip: false,
    jitter: null,
    gray: false,
    mean: [0, 0, 0],
    std: [1, 1, 1],
  };
  await addon.runPlan(video, plan, new Uint8Array(3 * frames.length), 0, undefined, cancel);
}

/** The first of `frames` that cannot be decoded alone; the first of all when each of them can (a deadline, say). */
async function firstBad(
  addon: VideoAddon,
  video: VideoHandle,
  frames: number[],
  cancel: CancelToken,
): Promise<number> {
  for (const frame of frames) {
    try {
      await decode(addon, video, [frame], cancel);
    } catch (error) {
      if (endsCheck(error)) throw error;
      return frame;
    }
  }
  return frames[0]!;
}
