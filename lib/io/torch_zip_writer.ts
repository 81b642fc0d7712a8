import { checkKnownOptions } from '../base/check';
import { type WriteOptions, writeAtomically, writeKeys } from './atomic_file';
import { writePickle } from './pickle_writer';
import type { RawTensor } from './raw_tensor';
import { ZipWriter } from './zip_writer';

/** Bytes of headers per entry, roughly; only the progress total depends on it. */
const ENTRY_OVERHEAD = 200;

/**
 * Writes what `torch.load(path, weights_only=True)` reads back. Map and plain object become a dict, array a
 * list, {@link Tuple} a tuple, whole number or bigint an int, other number or {@link PyFloat} a float, and
 * {@link RawTensor} a tensor. Tensors are fetched and written one at a time; the file appears at once or not at all.
 *
 * @example
 * const model = new Map([['alpha', new RawTensor('float32', [1], new Float32Array([0.1]))]]);
 * await writeTorch('out/last.pth', { model, epoch: 3, max_accuracy: new PyFloat(81) });
 *
 * @throws ERR_ARGUMENT for a value that cannot be written, ERR_FILE_WRITE, ERR_ABORTED
 */
export async function writeTorch(path: string, value: unknown, options: WriteOptions = {}): Promise<void> {
  checkKnownOptions('writeTorch', options, writeKeys);
  const tensors = new Map<RawTensor, string>();
  const pickle = writePickle(value, (tensor) => {
    const key = tensors.get(tensor) ?? String(tensors.size);
    tensors.set(tensor, key);
    return key;
  });
  let total = pickle.length;
  for (const tensor of tensors.keys()) total += tensor.byteLength + ENTRY_OVERHEAD;
  const write = async (zip: ZipWriter): Promise<void> => {
    await zip.add('archive/data.pkl', pickle);
    await zip.add('archive/byteorder', Buffer.from('little'));
    for (const [tensor, key] of tensors) await zip.add(`archive/data/${key}`, await tensor.data());
    await zip.add('archive/version', Buffer.from('3\n'));
    await zip.end();
  };
  await writeAtomically(path, total, (file) => write(new ZipWriter(file)), options);
}
