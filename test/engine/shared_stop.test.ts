import type { ProcessGroup } from '../../lib/distributed/process_group';
import { sharedStop } from '../../lib/engine/shared_stop';

test('alone it is the signal itself; in a job all stop when any was asked to, and not before they agreed', async () => {
  const asked = new AbortController();
  expect(sharedStop(asked.signal, null).signal).toBe(asked.signal);

  let others = false;
  const told: boolean[] = [];
  const any = async (own: boolean) => {
    told.push(own);
    return own || others;
  };
  const group = { any } as ProcessGroup;
  const [first, second] = [sharedStop(asked.signal, group), sharedStop(undefined, group)];
  asked.abort();
  expect(first.signal!.aborted).toBe(false);
  await first.agree();
  expect(first.signal!.aborted).toBe(true);
  await second.agree();
  expect(second.signal!.aborted).toBe(false);
  others = true;
  await second.agree();
  expect(second.signal!.aborted).toBe(true);
  expect(told).toEqual([true, false, false]);
});
