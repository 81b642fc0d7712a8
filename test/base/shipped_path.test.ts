import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { resolveShipped } from '../../lib/base/shipped_path';
import { temporaryFolder } from '../support/video';

const folder = temporaryFolder();
const before = process.cwd();
beforeAll(() => process.chdir(folder));
afterAll(() => process.chdir(before));

test('configurations and labels of the package are found in any folder, and nothing else of it', () => {
  const root = join(__dirname, '../..');
  for (const path of ['configs/k400/32_8.yaml', './labels/kinetics_400_labels.csv']) {
    expect(resolveShipped(path)).toBe(join(root, path));
  }
  for (const path of ['package.json', 'configs/../package.json', 'labels/none.csv', '/labels/none.csv']) {
    expect(resolveShipped(path)).toBe(path);
  }
  writeFileSync('labels', ''); // what is there comes first
  expect(resolveShipped('labels')).toBe('labels');
});
