import { stat } from 'node:fs/promises';
import { resolve } from 'node:path';
import type { Command } from 'commander';
import { CodedError } from '../../base/error';
import { failureText } from '../../data/batch';
import { forgetProgress, verifyDataset } from '../../data/verify';
import { VideoDataset } from '../../data/video_dataset';
import { writeText } from '../../io/text_file';
import { integerFrom, requireOther } from '../arguments';
import { interruptible } from '../interrupt';
import { listingReports, openProgressBar } from '../progress';
import { note, print } from '../terminal';

interface VerifyFlags {
  root?: string;
  report: string;
  deadline: number;
}

const help = `
The report is JSON: how many videos and frames, and of each bad video its name, the reason, and the first bad frame with
its time. An interrupted check goes on where it stopped. Exit status 1 when a video is bad.`;

/** Adds `data verify`: decodes everything. */
export function addVerify(data: Command): void {
  data
    .command('verify')
    .description('decode every frame of every video of a list and report what is bad')
    .argument('<list>', 'list of videos, or archives with labels')
    .option('--root <path>', 'where the videos are; archives with labels hold them')
    .option('--report <file>', 'where the report goes', 'verify.json')
    .option('--deadline <seconds>', 'how long a piece of a video may take', integerFrom(1, 2_147_483), 60)
    .addHelpText('after', help)
    .action(async (list: string, flags: VerifyFlags) => {
      await interruptible('stopping', (signal) => verify(list, flags, signal));
    });
}

async function verify(
  list: string,
  { root, report, deadline }: VerifyFlags,
  signal: AbortSignal,
): Promise<void> {
  requireOther(list, report);
  // After hours of checking it would be late to say so.
  if ((await stat(report).catch(() => undefined))?.isDirectory()) {
    throw new CodedError('ERR_FILE_WRITE', `${report} is a folder; name a file for the report`);
  }
  const journal = `${report}.partial`;
  const bar = openProgressBar();
  try {
    const onListing = listingReports(bar);
    const dataset = await VideoDataset.fromList(list, { root, signal, onListing });
    const { videos, frames, bad } = await verifyDataset(dataset, {
      journal,
      subject: JSON.stringify([resolve(list), root === undefined ? null : resolve(root)]),
      deadlineMs: 1000 * deadline,
      signal,
      onProgress: (done, total, count) => {
        if (done > 0) bar?.show('verify', { step: done - 1, steps: total }, `${count} bad`);
      },
    });
    bar?.stop();
    await writeText(
      report,
      `${JSON.stringify({ list, root: root ?? null, videos, frames, bad }, null, 2)}\n`,
    );
    await forgetProgress(journal);
    for (const { code, where, location, reason } of bad)
      note(`${code}: ${failureText({ where, path: location, reason })}`);
    print(`${report}: ${videos} videos, ${frames} frames decoded, ${bad.length} bad`);
    if (bad.length > 0) process.exitCode = 1;
  } finally {
    bar?.stop();
  }
}
