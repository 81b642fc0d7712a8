import type { Planner } from '../plan';

/** What a test shows of the time in a clip: the frames as they are, last first, or the middle one T times. */
export type FrameOrder = 'forward' | 'reversed' | 'one_frame';

/**
 * The planner with the frames of each clip in another order, for asking how much of an accuracy comes from motion.
 * @param clipLength frames per clip, T
 */
export function reorderFrames(planner: Planner, clipLength: number, order: FrameOrder): Planner {
  if (order === 'forward') return planner;
  return {
    shape: planner.shape,
    plan: (info, random) => {
      const plan = planner.plan(info, random);
      return { ...plan, frames: reorder(plan.frames, clipLength, order) };
    },
  };
}

function reorder(frames: ArrayLike<number>, clipLength: number, order: FrameOrder): number[] {
  return Array.from({ length: frames.length }, (_, i) => {
    const position = i % clipLength;
    const source = order === 'reversed' ? clipLength - 1 - position : clipLength >> 1;
    return frames[i - position + source]!;
  });
}
