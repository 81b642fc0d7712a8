import type { Control } from './control';
import type { JobEnvironment } from './environment';
import { Hub } from './hub';
import { Member } from './member';
import type { Patience } from './wait_for';

/**
 * Meets the other processes of a job: rank 0 listens at its host and port, and everyone waits until all are there.
 *
 * @throws ERR_DISTRIBUTED naming who is missing or why this one was refused, ERR_ABORTED
 */
export function meet(job: JobEnvironment, patience: Patience = {}): Promise<Control> {
  return job.rank === 0 ? Hub.listen(job, patience) : Member.connect(job, patience);
}
