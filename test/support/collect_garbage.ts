// Runs before each test of a file that counts live tensors: what earlier tests left to the garbage collector is
// collected now, so that it cannot go away in the middle of a count. A collection takes longer than most tests, so there is
// none where they left nothing.
import { readFileSync } from 'node:fs';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';

const counts = /liveTensors|checkOp|checkCase/.test(readFileSync(expect.getState().testPath!, 'utf8'));

if (counts) {
  setFlagsFromString('--expose-gc');
  const collect: () => void = runInNewContext('gc');
  const live = async () => {
    const { memory } = await import('../../lib/native/device');
    return memory().liveTensors + memory('cpu').liveTensors;
  };
  let kept = -1; // tensors that the last collection left alive
  beforeEach(async () => {
    if ((await live()) === kept) return;
    collect();
    // Finalizers of native handles run in turns of the event loop after the collection.
    for (let turn = 0; turn < 3; turn++) await new Promise((resolve) => setImmediate(resolve));
    kept = await live();
  });
}
