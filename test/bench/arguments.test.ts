import { spawnSync } from 'node:child_process';
import { packageRoot } from '../../lib/native/load';

// A benchmark that runs for hours says at its start what it does not know, and measures nothing under a wrong name.
test.each([
  ['run.mjs', ['--device', 'gpu'], "unknown device 'gpu'; one of cpu, cuda"],
  ['run.mjs', ['parity', 'modell'], "unknown suite 'modell'; one of parity, model, data"],
  ['ops.mjs', ['linear', 'atention'], "unknown suite 'atention': use linear or attention"],
  ['model.mjs', ['infer', 'tiny', '2', '1', 'fp16'], 'usage: node bench/model.mjs'],
  ['model.mjs', ['infer', 'tiny', 'two', '1', 'fp32'], 'usage: node bench/model.mjs'],
])('bench/%s %j', (script, words, said) => {
  const { status, stdout, stderr } = spawnSync(process.execPath, [`bench/${script}`, ...words], {
    cwd: packageRoot(),
    encoding: 'utf8',
  });
  expect(stderr).toContain(said);
  expect({ status, stdout }).toEqual({ status: 1, stdout: '' });
});
