import { execFileSync } from 'node:child_process';
import { readdirSync, readFileSync, statSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { readCheckpoint } from '../../lib/io/checkpoint';
import { RawTensor } from '../../lib/io/raw_tensor';
import { writeSafetensors } from '../../lib/io/safetensors';
import { writeTorch } from '../../lib/io/torch_zip_writer';
import { expectCode, fixture, temporaryFolder } from './helpers';

const folder = temporaryFolder();
const path = join(folder, 'file');

describe('readCheckpoint', () => {
  it.each<[string, RegExp, string | Uint8Array]>([
    ['an empty file', /the file is empty/, ''],
    [
      'a Git LFS pointer',
      /git lfs pull/,
      'version https://git-lfs.github.com/spec/v1\noid sha256:1\nsize 5\n',
    ],
    ['a web page', /web page/, '\n<!DOCTYPE html><html></html>'],
    ['a gzip file', /gzip/, Uint8Array.of(0x1f, 0x8b, 8, 0)],
    ['a tar archive', /tar archive/, `${'pickle'.padEnd(257, '\0')}ustar${'\0'.repeat(250)}`],
    ['a picture', /starts with the bytes 89504e47/, Buffer.from('89504e470d0a1a0a', 'hex')],
    ['one byte', /starts with the bytes 80$/, Uint8Array.of(0x80)],
    ['another pickle', /not one that torch.save wrote/, Uint8Array.of(0x80, 2, 0x4e, 0x2e)],
    ['another zip archive', /no torch checkpoint/, Buffer.from(`504b0506${'00'.repeat(18)}`, 'hex')],
  ])('says what %s is', async (_, message, bytes) => {
    writeFileSync(path, bytes);
    await expectCode(readCheckpoint(path), 'ERR_CHECKPOINT_FORMAT', message);
    await expectCode(readCheckpoint(path), 'ERR_CHECKPOINT_FORMAT', new RegExp(`^${path}: `));
  });

  it('says when there is no file, or none that can be read', async () => {
    await expectCode(
      readCheckpoint(join(folder, 'none.pth')),
      'ERR_FILE_NOT_FOUND',
      /none\.pth does not exist/,
    );
    const pipe = join(folder, 'pipe');
    execFileSync('mkfifo', [pipe]);
    await expectCode(readCheckpoint(pipe), 'ERR_FILE_READ', /not a regular file/);
  });

  it('tells the format by the contents, not by the name', async () => {
    await writeSafetensors(
      join(folder, 'a.pth'),
      new Map([['w', new RawTensor('int8', [1], Int8Array.of(-4))]]),
    );
    await using checkpoint = await readCheckpoint(join(folder, 'a.pth'));
    expect([checkpoint.format, await checkpoint.stateDict.get('w')!.item()]).toEqual(['safetensors', -4]);
  });

  it.each(['model', 'state_dict', 'model_state_dict'])('finds the weights under %s', async (key) => {
    const weight = new RawTensor('int8', [1], Int8Array.of(3));
    await writeTorch(path, { epoch: 1, [key]: { weight } });
    await using checkpoint = await readCheckpoint(path);
    expect([...checkpoint.stateDict.keys()]).toEqual(['weight']);
    expect(checkpoint.config).toBeUndefined();
  });

  it('says when there are no weights', async () => {
    await writeTorch(path, { epoch: 1, model: { weight: 1 } });
    await expectCode(readCheckpoint(path), 'ERR_CHECKPOINT_FORMAT', /no weights: .*keys: epoch, model/);
    await writeTorch(path, []);
    await expectCode(readCheckpoint(path), 'ERR_CHECKPOINT_FORMAT', /keys: none/);
  });

  it('fetches tensors until it is closed', async () => {
    const checkpoint = await readCheckpoint(fixture('golden/tiny.pth'));
    const proj = checkpoint.stateDict.get('visual.proj')!;
    expect((await proj.data()).length).toBe(128 * 128 * 4);
    await checkpoint.close();
    await expectCode(proj.data(), 'ERR_DISPOSED', /was closed/);
    await checkpoint.close();
  });

  it('takes nothing for the contents of a file that became shorter', async () => {
    await writeSafetensors(path, new Map([['w', new RawTensor('uint8', [8], new Uint8Array(8).fill(1))]]));
    await using checkpoint = await readCheckpoint(path);
    truncateSync(path, statSync(path).size - 4);
    await expectCode(
      checkpoint.stateDict.get('w')!.data(),
      'ERR_CHECKPOINT_FORMAT',
      /8 bytes from offset \d+ .*truncated/,
    );
  });

  it('leaves no file open when it fails', async () => {
    await writeTorch(path, {});
    const before = readdirSync('/dev/fd').length;
    for (let i = 0; i < 5; i++) await expectCode(readCheckpoint(path), 'ERR_CHECKPOINT_FORMAT', /no weights/);
    expect(readdirSync('/dev/fd').length).toBe(before);
  });

  it('reads only what is asked for', async () => {
    const bytes = readFileSync(fixture('golden/tiny.pth'));
    const damaged = Buffer.from(bytes);
    await using sound = await readCheckpoint(fixture('golden/tiny.pth'));
    const at = bytes.indexOf(await sound.stateDict.get('visual.proj')!.data());
    damaged[at + 5]! ^= 1;
    writeFileSync(path, damaged);
    await using checkpoint = await readCheckpoint(path);
    expect(await checkpoint.stateDict.get('logit_scale')!.item()).toBeCloseTo(2.3, 0);
    await expectCode(
      checkpoint.stateDict.get('visual.proj')!.data(),
      'ERR_CHECKPOINT_FORMAT',
      /checksum of entry/,
    );
  });
});
