import { appendFile, readFile, rm, stat } from 'node:fs/promises';
import { writeError } from '../io/atomic_file';
import { readError } from '../io/file_bytes';
import { Limiter } from './limiter';
import type { VideoSample } from './video_dataset';

/** A video that cannot be decoded from beginning to end. */
export interface BadVideo {
  name: string;
  /** Line of the list, and path or archive and member. */
  where: string;
  location: string;
  /** Stable error code, and what was wrong. */
  code: string;
  reason: string;
  /** The first frame that cannot be decoded, and its time; null when the video cannot be opened at all. */
  frame: number | null;
  seconds: number | null;
}

/** A line of the journal. */
export type Outcome = { name: string; file: FileState } & ({ frames: number } | { bad: BadVideo });

/** Size and modification time of the file that a video is, or lies in; null when there is none. */
export type FileState = [size: number, mtimeMs: number] | null;

/** To be taken before the video is opened: an outcome counts as long as its file is as it was. */
export async function fileStateOf(sample: VideoSample): Promise<FileState> {
  try {
    const { size, mtimeMs } = await stat(sample.source.path);
    return [size, mtimeMs];
  } catch {
    return null; // opening it says why
  }
}

/** Takes away the outcomes of videos that are gone from the list, and of those whose files were changed or replaced. */
export async function forgetChanged(
  outcomes: Map<string, Outcome>,
  samples: ReadonlyMap<string, VideoSample>,
): Promise<void> {
  const limiter = new Limiter(64);
  await Promise.all(
    [...outcomes.values()].map(({ name, file }) =>
      limiter.run(async () => {
        const sample = samples.get(name);
        const now = sample && (await fileStateOf(sample));
        if (now === undefined || String(now) !== String(file)) outcomes.delete(name);
      }),
    ),
  );
}

/** Removes the journal, once its contents are in a report. */
export function forgetProgress(journal: string): Promise<void> {
  return rm(journal, { force: true });
}

/** The outcomes of an interrupted check of `subject`, by name; none when the journal is of something else. */
export async function readJournal(path: string, subject: string): Promise<Map<string, Outcome>> {
  const text = await readFile(path, 'utf8').catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return '';
    throw readError(path, error);
  });
  const [head, ...records] = text.split('\n').map(parseLine);
  if ((head as { subject?: unknown } | undefined)?.subject !== subject) return new Map();
  const outcomes = (records as (Outcome | undefined)[]).flatMap((record) =>
    typeof record?.name === 'string' ? record : [],
  );
  return new Map(outcomes.map((outcome) => [outcome.name, outcome]));
}

function parseLine(line: string): unknown {
  try {
    return JSON.parse(line);
  } catch {
    return undefined; // the last line, cut short by a crash, or empty
  }
}

/** Ends a line that a crash may have cut short, so that it takes no other with it. @throws ERR_FILE_WRITE */
export async function endCutLine(path: string): Promise<void> {
  try {
    await appendFile(path, '\n');
  } catch (error) {
    throw writeError(path, error);
  }
}

/** Appends a record, or begins a journal. @throws ERR_FILE_WRITE */
export async function writeJournal(path: string, record: object, anew = false): Promise<void> {
  try {
    await appendFile(path, `${JSON.stringify(record)}\n`, { flag: anew ? 'w' : 'a' });
  } catch (error) {
    throw writeError(path, error);
  }
}
