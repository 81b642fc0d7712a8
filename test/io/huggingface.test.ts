import { copyFileSync, cpSync, mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { readCheckpoint } from '../../lib/io/checkpoint';
import { RawTensor } from '../../lib/io/raw_tensor';
import { writeSafetensors } from '../../lib/io/safetensors';
import { expectCode, fixture, temporaryFolder } from './helpers';

const root = temporaryFolder();
const weight = [1, -2, 0.5, 4];

/** A fresh copy of a fixture folder. */
function copyOf(name: string): string {
  const folder = join(root, name);
  rmSync(folder, { recursive: true, force: true });
  cpSync(fixture('checkpoints', name), folder, { recursive: true });
  return folder;
}

describe('Hugging Face folders', () => {
  it('give configuration and weights as they are', async () => {
    const folder = join(root, 'tiny');
    mkdirSync(folder);
    copyFileSync(fixture('golden/tiny_hf/config.json'), join(folder, 'config.json'));
    const scale = new RawTensor('float32', [], Float32Array.of(2.5));
    await writeSafetensors(join(folder, 'model.safetensors'), new Map([['logit_scale', scale]]));
    await using checkpoint = await readCheckpoint(folder);
    expect(checkpoint.format).toBe('huggingface');
    expect(checkpoint.config).toMatchObject({ model_type: 'xclip', text_config: { hidden_size: 128 } });
    expect(await checkpoint.stateDict.get('logit_scale')!.item()).toBe(2.5);
  });

  it('are read when split into several files', async () => {
    await using checkpoint = await readCheckpoint(fixture('checkpoints/sharded'));
    expect([...checkpoint.stateDict.keys()]).toEqual(['weight', 'bias']);
    expect([...(await checkpoint.stateDict.get('weight')!.float32())]).toEqual(weight);
    expect([...(await checkpoint.stateDict.get('bias')!.float32())]).toEqual(weight.slice(0, 2));
  });

  it('are read with weights that torch saved', async () => {
    await using checkpoint = await readCheckpoint(fixture('checkpoints/bin'));
    expect([...(await checkpoint.stateDict.get('weight')!.float32())]).toEqual(weight);
  });

  it('are refused when something is missing or damaged', async () => {
    const folder = copyOf('sharded');
    const index = join(folder, 'model.safetensors.index.json');
    for (const name of ['../config.json', '/etc/passwd', '..', 5]) {
      writeFileSync(index, JSON.stringify({ weight_map: { weight: name } }));
      await expectCode(readCheckpoint(folder), 'ERR_CHECKPOINT_UNSAFE', /no name of a file beside it/);
    }
    writeFileSync(index, JSON.stringify({ weight_map: { weight: 'other.safetensors' } }));
    await expectCode(readCheckpoint(folder), 'ERR_FILE_NOT_FOUND', /other\.safetensors does not exist/);
    writeFileSync(index, '{}');
    await expectCode(readCheckpoint(folder), 'ERR_CHECKPOINT_FORMAT', /no "weight_map"/);
    copyFileSync(join(folder, 'model-00001-of-00002.safetensors'), join(folder, 'model-00003.safetensors'));
    writeFileSync(
      index,
      JSON.stringify({ weight_map: { a: 'model-00001-of-00002.safetensors', b: 'model-00003.safetensors' } }),
    );
    await expectCode(readCheckpoint(folder), 'ERR_CHECKPOINT_FORMAT', /"weight" is in another file/);
    rmSync(index);
    await expectCode(readCheckpoint(folder), 'ERR_FILE_NOT_FOUND', /has none of model\.safetensors, /);
    writeFileSync(join(folder, 'config.json'), '{"a":');
    await expectCode(readCheckpoint(folder), 'ERR_CHECKPOINT_FORMAT', /config\.json: it is no JSON/);
    writeFileSync(join(folder, 'config.json'), '[]');
    await expectCode(readCheckpoint(folder), 'ERR_CHECKPOINT_FORMAT', /config\.json: it is no JSON object/);
    rmSync(join(folder, 'config.json'));
    await expectCode(
      readCheckpoint(folder),
      'ERR_FILE_NOT_FOUND',
      /it has no config\.json; name a file in it: \S+model-00001-of-00002\.safetensors, \S+, \S+$/,
    );
    mkdirSync(join(folder, 'empty'));
    await expectCode(readCheckpoint(join(folder, 'empty')), 'ERR_FILE_NOT_FOUND', /it has no config\.json$/);
  });
});
