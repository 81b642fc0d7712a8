import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { Philox } from '../../lib/base/philox';
import { readCheckpoint } from '../../lib/io/checkpoint';
import { toPlain } from '../../lib/io/pickle_value';
import { fixture, temporaryFolder } from './helpers';

const ROUNDS = 300;
const path = join(temporaryFolder(), 'damaged');

/** Cuts the file, or changes up to 8 bytes, most often in its first or last kilobyte, where the structure is. */
function damage(original: Buffer, random: Philox): Buffer {
  if (random.integer(5) === 0) return original.subarray(0, random.integer(original.length));
  const bytes = Buffer.from(original);
  for (let changes = 1 + random.integer(8); changes > 0; changes--) {
    const near = random.integer(Math.min(1024, bytes.length));
    const at = [near, bytes.length - 1 - near, random.integer(bytes.length)][random.integer(3)]!;
    bytes[at] = [0, 0xff, bytes[at]! ^ (1 << random.integer(8)), random.integer(256)][random.integer(4)]!;
  }
  return bytes;
}

/** Reads everything there is. */
async function readAll(file: string): Promise<void> {
  const checkpoint = await readCheckpoint(file);
  try {
    toPlain(checkpoint.value);
    for (const tensor of checkpoint.stateDict.values()) await tensor.float32();
  } finally {
    await checkpoint.close();
  }
}

it.each([
  'views.pth',
  'views_legacy.pth',
  'legacy.pth',
  'no_checksums.pth',
  'protocol_1.pth',
  'protocol_5.pth',
  'sharded/model-00001-of-00002.safetensors',
])('%s, damaged in many ways, is read or refused with a code', async (name) => {
  const original = readFileSync(fixture('checkpoints', name));
  const random = new Philox(1, original.length);
  let refused = 0;
  for (let round = 0; round < ROUNDS; round++) {
    writeFileSync(path, damage(original, random));
    const error = await readAll(path).then(
      () => undefined,
      (reason) => reason,
    );
    if (error === undefined) continue;
    refused++;
    if (!/^ERR_CHECKPOINT_/.test(error.code)) throw new Error(`round ${round}: ${error.stack}`);
  }
  expect(refused).toBeGreaterThan(ROUNDS / 4);
});
