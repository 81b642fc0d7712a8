import { CodedError } from '../base/error';
import type { CancelToken, VideoAddon } from '../native/video';
import { failureText, type SampleFailure } from './batch';
import type { SampleRead } from './batch_pixels';
import { describeDamage, VIDEO_DAMAGED } from './damage_warning';
import type { Planner } from './plan';
import { sampleRandom } from './random';
import type { VideoDataset } from './video_dataset';
import { videoFault } from './video_fault';

/** What happens when a video cannot be loaded. Every failure is counted and named, whatever the rule. */
export type OnError = 'fail' | 'skip' | 'substitute';

/** The outcome of one row of a batch. */
export interface LoadedRow {
  /** Index of the sample that filled the row, or undefined when the row stays empty. */
  index: number | undefined;
  failed: SampleFailure[];
  /** Set when the sample may show traces of damaged frames. */
  damage?: SampleFailure;
}

/** `substitute` gives up after this many videos in a row, which more likely means a wrong folder than bad luck. */
const substituteLimit = 16;

/** What {@link SampleLoader} needs. */
export interface SampleLoaderOptions {
  addon: VideoAddon;
  dataset: VideoDataset;
  planner: Planner;
  seed: number;
  onError: OnError;
  /** Milliseconds for opening a video, and again for executing its plan. */
  deadlineMs: number;
}

/** Loads single samples: open, plan, read; and applies the rule for bad ones. */
export class SampleLoader {
  constructor(private readonly options: SampleLoaderOptions) {}

  /**
   * Reads sample `index`. With `substitute` a bad video gives way to the next one of the data set (cyclically), drawn
   * with the numbers of the one that failed.
   * @param read takes the open video and its plan
   * @throws under `fail`, the error of the video, prefixed with its line in the list
   */
  async load(
    index: number,
    epoch: number,
    read: (sample: SampleRead) => Promise<void>,
    cancel: CancelToken,
  ): Promise<LoadedRow> {
    const { dataset, onError } = this.options;
    const failed: SampleFailure[] = [];
    const attempts = onError === 'substitute' ? Math.min(substituteLimit, dataset.length) : 1;
    for (let attempt = 0; attempt < attempts; attempt++) {
      const candidate = (index + attempt) % dataset.length;
      try {
        const reason = await this.read(candidate, index, epoch, read, cancel);
        const damage =
          reason === undefined ? undefined : this.record(candidate, epoch, VIDEO_DAMAGED, reason);
        return { index: candidate, failed, damage };
      } catch (error) {
        const fault = videoFault(error);
        if (!fault) throw error;
        const failure = this.record(candidate, epoch, fault.code, fault.reason);
        failed.push(failure);
        if (onError === 'fail') throw this.fatal(failure, error);
        if (onError === 'substitute' && attempt === attempts - 1) throw this.exhausted(failed, error);
      }
    }
    return { index: undefined, failed };
  }

  /** @returns what is known of damage to the video */
  private async read(
    candidate: number,
    index: number,
    epoch: number,
    read: (sample: SampleRead) => Promise<void>,
    cancel: CancelToken,
  ): Promise<string | undefined> {
    const { addon, dataset, planner, seed, deadlineMs } = this.options;
    const video = await addon.openVideo(dataset.at(candidate).source, { deadlineMs }, cancel);
    try {
      const info = addon.videoInfo(video);
      const plan = planner.plan(info, sampleRandom(seed, epoch, index));
      await read({ addon, video, plan, cancel });
      return describeDamage(addon.videoDamage(video), info.frameCount);
    } finally {
      addon.closeVideo(video);
    }
  }

  private record(index: number, epoch: number, code: string, reason: string): SampleFailure {
    const { location, where } = this.options.dataset.at(index);
    return { epoch, index, path: location, where, code, reason };
  }

  private fatal(failure: SampleFailure, cause: unknown): CodedError {
    const remedy = 'with ON_ERROR skip or substitute loading goes on; data verify finds all bad videos';
    return new CodedError(failure.code as CodedError['code'], `${failureText(failure)} (${remedy})`, {
      cause,
    });
  }

  private exhausted(failed: SampleFailure[], cause: unknown): CodedError {
    const names = failed.map((failure) => `  ${failureText(failure)}`);
    return new CodedError(
      failed[0]!.code as CodedError['code'],
      `${failed.length} videos in a row could not be loaded; is the video folder right?\n${names.join('\n')}`,
      { cause },
    );
  }
}
