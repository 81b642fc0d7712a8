import { readCheckpoint } from '../io';

/** The number of classes that a training checkpoint says it was made with; undefined when it says nothing. */
export async function trainedClasses(path: string): Promise<number | undefined> {
  const checkpoint = await readCheckpoint(path);
  await checkpoint.close();
  const data = checkpoint.config?.DATA as { NUM_CLASSES?: unknown } | undefined;
  return typeof data?.NUM_CLASSES === 'number' ? data.NUM_CLASSES : undefined;
}
