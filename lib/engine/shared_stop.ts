import type { ProcessGroup } from '../distributed/process_group';

/** A request to stop that all processes of a job obey after the same micro-batch. */
export interface SharedStop {
  signal: AbortSignal | undefined;
  /** Called after each micro-batch, by all. @throws ERR_DISTRIBUTED */
  agree(): Promise<void>;
}

/** Without a group it is the caller's signal, at once. */
export function sharedStop(signal: AbortSignal | undefined, group: ProcessGroup | null): SharedStop {
  if (!group) return { signal, agree: async () => {} };
  const agreed = new AbortController();
  return {
    signal: agreed.signal,
    agree: async () => {
      if (await group.any(signal?.aborted ?? false)) agreed.abort();
    },
  };
}
