import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { packageRoot } from '../../lib/native/load';

// bench/cuda/tile_table.mjs, which makes the measured table of products; that the kernels follow the table is tested in
// gemm_test.cc.
const folder = mkdtempSync(join(tmpdir(), 'tile-table-'));
afterAll(() => rmSync(folder, { recursive: true }));
let files = 0;

const device = (kernels: number, multiprocessors: number, scale = 'full') =>
  JSON.stringify({ device: `card ${multiprocessors}`, kernels, multiprocessors, scale });
const row = (name: string, mnk: number[], choice: number[], microseconds: number) => {
  const [m, n, k] = mnk;
  const [kernels, tile, cluster, slabs, apart = 0] = choice;
  const sizes = { m, n, k, kernels, tile, cluster, slabs, apart };
  return JSON.stringify({ suite: 'sweep b16 qkv', name, sizes, microseconds });
};

function table(...sweeps: string[][]) {
  const inputs = sweeps.map((lines) => {
    const file = join(folder, `${files++}.jsonl`);
    writeFileSync(file, `${lines.join('\n')}\n`);
    return file;
  });
  const { status, stdout, stderr } = spawnSync(
    process.execPath,
    [join(packageRoot(), 'bench/cuda/tile_table.mjs'), ...inputs],
    { encoding: 'utf8' },
  );
  return { status, stderr, rows: stdout.split('\n').filter((line) => line.startsWith('{')), stdout };
}

test('each product takes its fastest kernel, or the estimated one where that is as fast', () => {
  const sweep = [
    device(90, 132),
    JSON.stringify({ suite: 'memory', name: 'device copy', sizes: { bytes: 1 }, microseconds: 1 }),
    row('weight 128x256 cluster 2 slabs 7', [768, 768, 50432], [90, 1, 2, 7, 1], 80),
    row('weight 128x128 cluster 1 slabs 4 (rule)', [768, 768, 50432], [90, 3, 1, 4], 90),
    row('forward ping-pong 128x192 cluster 2 slabs 1', [1576, 768, 768], [90, 0, 2, 1], 10),
    row('forward mma 64x64 cluster 1 slabs 2 (rule)', [1576, 768, 768], [80, 3, 1, 2], 10.09),
  ];
  const forward = '{90, 132, ProductKind::forward, 1576, 768, 768, {80, 3, 1, 2, false}},';
  const weight = '{90, 132, ProductKind::weight, 768, 768, 50432, {90, 1, 2, 7, true}},';
  expect(table(sweep)).toMatchObject({ status: 0, stderr: '', rows: [forward, weight] });

  // A card of another size keeps its own rows; a later sweep of the same replaces them.
  const other = [
    device(80, 108),
    row('forward mma 64x64 cluster 1 slabs 1 (rule)', [1576, 768, 768], [80, 3, 1, 1], 30),
  ];
  const again = [
    device(90, 132),
    row('weight 128x256 cluster 1 slabs 8 (rule)', [768, 768, 50432], [90, 1, 1, 8], 70),
  ];
  const all = table(sweep, other, again);
  expect(all.rows).toEqual([
    '{80, 108, ProductKind::forward, 1576, 768, 768, {80, 3, 1, 1, false}},',
    forward,
    '{90, 132, ProductKind::weight, 768, 768, 50432, {90, 1, 1, 8, false}},',
  ]);
  expect(all.stdout.split('\n')[1]).toMatch(/: card 108, card 132$/);
});

test('a product that the sweep did not finish, as its end without the estimated choice shows, has no row', () => {
  const finished = row('forward x cluster 1 slabs 1 (rule)', [1576, 768, 768], [90, 0, 1, 1], 20);
  const cut = row('forward y cluster 1 slabs 1', [1576, 3072, 768], [90, 1, 1, 1], 50);
  expect(table([device(90, 132), finished, cut]).rows).toEqual([
    '{90, 132, ProductKind::forward, 1576, 768, 768, {90, 0, 1, 1, false}},',
  ]);
});

test('what is no measurement makes no table', () => {
  const tiny = [device(90, 132, 'tiny'), row('forward x cluster 1 slabs 1', [1, 1, 1], [90, 0, 1, 1], 1)];
  expect(table(tiny)).toMatchObject({ status: 1, stderr: expect.stringContaining('not of scale full') });
  expect(table([device(90, 132)])).toMatchObject({
    status: 1,
    stderr: expect.stringContaining('no products'),
  });
});

test('the table in the tree is one that the program writes', () => {
  const tree = readFileSync(join(packageRoot(), 'cuda/gemm/measured_tiles.inc'), 'utf8');
  const [first, second = '', ...rows] = tree.split('\n');
  const empty = table().stdout.split('\n');
  expect(first).toBe(empty[0]);
  expect(second.startsWith(empty[1]!)).toBe(true);
  for (const line of rows.slice(0, -1)) {
    expect(line).toMatch(
      /^\{(80|90), \d+, ProductKind::(forward|input|weight), \d+, \d+, \d+, \{(80|90), \d, [12], \d+, (true|false)\}\},$/,
    );
  }
});
