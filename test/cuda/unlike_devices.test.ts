import { freePort } from '../../lib/distributed/launch';
import { buildCli, runCli } from '../support/built_cli';
import { makeTinyRun, type TinyRun } from '../support/tiny_run';

let tiny: TinyRun;
beforeAll(async () => {
  buildCli();
  tiny = await makeTinyRun(1, 1);
});
afterAll(() => tiny.remove());

test('processes of which one alone has a GPU are refused', async () => {
  const job = { WORLD_SIZE: '2', MASTER_ADDR: '127.0.0.1', MASTER_PORT: String(await freePort()) };
  const ends = await Promise.all(
    ['cuda', 'cpu'].map((device, rank) =>
      runCli(['train', '-cfg', tiny.cfg, '--output', `${tiny.root}/out`], {
        env: { ...job, RANK: String(rank), LOCAL_RANK: '0', NATIVE_DEVICE: device },
      }),
    ),
  );
  const text =
    'error ERR_DEVICE: rank 1 would compute on cpu, rank 0 on cuda; --device names the one that all have\n';
  for (const { status, stderr } of ends) expect({ status, stderr }).toEqual({ status: 1, stderr: text });
});
