import { mkdirSync, writeFileSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { dirname, join } from 'node:path';
import { usableCores } from '../../lib/base/cores';
import { temporaryFolder } from '../support/video';

const folder = temporaryFolder();
let count = 0;

/** A root folder with these files. */
function rootOf(files: Record<string, string>): string {
  const root = join(folder, `root_${count++}`);
  mkdirSync(root);
  for (const [name, text] of Object.entries(files)) {
    mkdirSync(dirname(join(root, name)), { recursive: true });
    writeFileSync(join(root, name), `${text}\n`);
  }
  return root;
}

const self = 'proc/self/cgroup';

test.each<[string, number, Record<string, string>]>([
  ['nothing known of control groups', 8, {}],
  ['no limit', 8, { [self]: '0::/', 'sys/fs/cgroup/cpu.max': 'max 100000' }],
  ['a container of two cores', 2, { [self]: '0::/', 'sys/fs/cgroup/cpu.max': '200000 100000' }],
  ['a core and a half', 2, { [self]: '0::/', 'sys/fs/cgroup/cpu.max': '150000 100000' }],
  ['a tenth of a core', 1, { [self]: '0::/', 'sys/fs/cgroup/cpu.max': '10000 100000' }],
  ['more than there are', 8, { [self]: '0::/', 'sys/fs/cgroup/cpu.max': '1600000 100000' }],
  [
    'the least of the groups around it',
    3,
    {
      [self]: '0::/machine/unit/leaf',
      'sys/fs/cgroup/machine/cpu.max': '300000 100000',
      'sys/fs/cgroup/machine/unit/cpu.max': 'max 100000',
      'sys/fs/cgroup/machine/unit/leaf/cpu.max': '500000 100000',
    },
  ],
  [
    'version 1',
    4,
    {
      [self]: '5:memory:/job\n4:cpu,cpuacct:/job\n1:name=systemd:/job',
      'sys/fs/cgroup/cpu,cpuacct/job/cpu.cfs_quota_us': '400000',
      'sys/fs/cgroup/cpu,cpuacct/job/cpu.cfs_period_us': '100000',
    },
  ],
  [
    'version 1 without a limit',
    8,
    {
      [self]: '4:cpu:/',
      'sys/fs/cgroup/cpu/cpu.cfs_quota_us': '-1',
      'sys/fs/cgroup/cpu/cpu.cfs_period_us': '100000',
    },
  ],
  [
    'a container of version 1, whose path is that of outside',
    2,
    {
      [self]: '4:cpu,cpuacct:/docker/0123abcd\n0::/docker/0123abcd',
      'sys/fs/cgroup/cpu/cpu.cfs_quota_us': '200000',
      'sys/fs/cgroup/cpu/cpu.cfs_period_us': '100000',
    },
  ],
  ['what is no number', 8, { [self]: 'nonsense\n0::/', 'sys/fs/cgroup/cpu.max': 'some more' }],
])('%s: %i of 8 cores', (_, wanted, files) => {
  expect(usableCores(rootOf(files), 8)).toBe(wanted);
});

test('is at least one here, and never more than the process may run on', () => {
  expect(usableCores()).toBeGreaterThanOrEqual(1);
  expect(usableCores()).toBeLessThanOrEqual(availableParallelism());
});
