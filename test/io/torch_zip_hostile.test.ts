import { join } from 'node:path';
import type { ErrorCode } from '../../lib/base/error';
import { writeAtomically } from '../../lib/io/atomic_file';
import { readCheckpoint } from '../../lib/io/checkpoint';
import type { RawTensor } from '../../lib/io/raw_tensor';
import { ZipWriter } from '../../lib/io/zip_writer';
import { expectCode, temporaryFolder } from './helpers';

const path = join(temporaryFolder(), 'hostile.pth');

/** Writes a zip archive of entries given as text and opens it as a checkpoint. */
async function open(entries: Record<string, string>): Promise<Map<string, RawTensor>> {
  await writeAtomically(path, 0, async (file) => {
    const zip = new ZipWriter(file);
    for (const [name, text] of Object.entries(entries)) await zip.add(name, Buffer.from(text, 'latin1'));
    await zip.end();
  });
  await using checkpoint = await readCheckpoint(path);
  return checkpoint.stateDict;
}

/** A pickled tensor of `size` floats over storage `key` that claims `claim` elements. */
const tensor = (key: string, claim: string, size: string) =>
  `ctorch._utils\n_rebuild_tensor_v2\n((S'storage'\nctorch\nFloatStorage\nS'${key}'\nS'cpu'\nI${claim}\ntQI0\n(I${size}\nt(I1\ntI00\nNtR`;
const state = (value: string) => `(dS'w'\n${value}s.`;
const storage = '\0\0\x80?\0\0\0@';

it('the sound file that the cases below damage is read', async () => {
  const entries = {
    'x/data.pkl': state(tensor('0', '2', '2')),
    'x/byteorder': 'little',
    'x/data/0': storage,
  };
  expect([...(await open(entries))].map(([name, { shape }]) => [name, shape])).toEqual([['w', [2]]]);
});

it.each<[string, ErrorCode, RegExp, Record<string, string>]>([
  ['no pickle', 'ERR_CHECKPOINT_FORMAT', /0 entries <name>\/data.pkl/, { 'word/document.xml': '' }],
  ['two pickles', 'ERR_CHECKPOINT_FORMAT', /2 entries/, { 'x/data.pkl': 'N.', 'y/data.pkl': 'N.' }],
  ['half a pickle', 'ERR_CHECKPOINT_FORMAT', /data.pkl ends in the middle/, { 'x/data.pkl': '(d' }],
  [
    'big endian numbers',
    'ERR_CHECKPOINT_FORMAT',
    /order is "big"/,
    { 'x/data.pkl': '(d.', 'x/byteorder': 'big' },
  ],
  [
    'numbers in an order nobody knows',
    'ERR_CHECKPOINT_FORMAT',
    /order is "middle"/,
    { 'x/data.pkl': '(d.', 'x/byteorder': 'middle' },
  ],
  [
    'an order that is not said',
    'ERR_CHECKPOINT_FORMAT',
    /order is ""/,
    { 'x/data.pkl': '(d.', 'x/byteorder': '' },
  ],
  [
    'a missing storage',
    'ERR_CHECKPOINT_FORMAT',
    /storage "1", which/,
    { 'x/data.pkl': state(tensor('1', '2', '2')) },
  ],
  [
    'a storage elsewhere',
    'ERR_CHECKPOINT_FORMAT',
    /"\.\.\/y"/,
    { 'x/data.pkl': state(tensor('../y', '2', '2')), 'x/y': '' },
  ],
  [
    'a storage smaller than claimed',
    'ERR_CHECKPOINT_UNSAFE',
    /"0" claims 3 elements of float32, but its entry has 8 bytes/,
    { 'x/data.pkl': state(tensor('0', '3', '2')), 'x/data/0': storage },
  ],
  [
    'a tensor larger than its storage',
    'ERR_CHECKPOINT_UNSAFE',
    /shape \[3\].* not inside its storage of 2/,
    { 'x/data.pkl': state(tensor('0', '2', '3')), 'x/data/0': storage },
  ],
  [
    'a size that is no number',
    'ERR_CHECKPOINT_UNSAFE',
    /impossible extent/,
    { 'x/data.pkl': state(tensor('0', '2', "1\n0S'x'")), 'x/data/0': storage },
  ],
  [
    'a thousand dimensions',
    'ERR_CHECKPOINT_UNSAFE',
    /1000 dimensions/,
    { 'x/data.pkl': state(tensor('0', '2', `2${'\nI1'.repeat(999)}`)), 'x/data/0': storage },
  ],
  [
    'a tensor whose bytes mean something else',
    'ERR_CHECKPOINT_FORMAT',
    /_rebuild_tensor_v2 has arguments that do not fit/,
    { 'x/data.pkl': state(tensor('0', '2', '2').replace('NtR', "N(dS'neg'\nI01\nstR")), 'x/data/0': storage },
  ],
  [
    'a call of os.system',
    'ERR_CHECKPOINT_UNSAFE',
    /calls os\.system/,
    { 'x/data.pkl': "cos\nsystem\n(S'ls'\ntR." },
  ],
])('refuses %s', async (_, code, message, entries) => {
  await expectCode(open(entries), code, message);
});

it('a module tree with 2^60 paths is refused, quickly', async () => {
  const module = (attributes: string): string => `(c__torch__.a\nB\no(d${attributes}b`;
  const levels = Array.from(
    { length: 60 },
    (_, i) => `${module(`S'l'\ng${i}\nsS'r'\ng${i}\ns`)}p${i + 1}\n0`,
  );
  const entries = { 'x/data.pkl': `${module('')}p0\n0${levels.join('')}g60\n.`, 'x/constants.pkl': 'N.' };
  await expectCode(open(entries), 'ERR_CHECKPOINT_FORMAT', /no weights/);
});
