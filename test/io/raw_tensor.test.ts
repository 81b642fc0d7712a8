import { RawTensor } from '../../lib/io/raw_tensor';
import { expectCode } from './helpers';

describe('RawTensor', () => {
  it('gives bytes at the start of a buffer of their own', async () => {
    const view = new Float32Array([0, 1, 2, 3, 4]).subarray(1, 4);
    const tensor = new RawTensor('float32', [3, 1], view);
    expect([tensor.size, tensor.byteLength]).toEqual([3, 12]);
    expect([...new Float32Array((await tensor.data()).buffer)]).toEqual([1, 2, 3]);
    expect([...(await tensor.float32())]).toEqual([1, 2, 3]);
  });

  it('fetches lazily, each time anew', async () => {
    let calls = 0;
    const tensor = new RawTensor('uint8', [2], async () => Uint8Array.of(++calls, 7));
    expect(calls).toBe(0);
    expect([...(await tensor.data())]).toEqual([1, 7]);
    expect([...(await tensor.data())]).toEqual([2, 7]);
  });

  it('gives the value of a single element', async () => {
    expect(await new RawTensor('float64', [], Float64Array.of(0.1)).item()).toBe(0.1);
    expect(await new RawTensor('int64', [1], BigInt64Array.of(2n ** 40n)).item()).toBe(2 ** 40);
    expect(await new RawTensor('int32', [], Int32Array.of(16777217)).item()).toBe(16777217);
    expect(await new RawTensor('bfloat16', [], Uint16Array.of(0xc020)).item()).toBe(-2.5);
    await expectCode(
      new RawTensor('uint8', [2], Uint8Array.of(1, 2)).item(),
      'ERR_SHAPE',
      /one element, not shape \[2\]/,
    );
  });

  it('refuses bytes that do not fit', async () => {
    const fit = { code: 'ERR_SHAPE', message: 'float32 [2] needs 8 bytes, not 4' };
    expect(() => new RawTensor('float32', [2], new Float32Array(1))).toThrow(expect.objectContaining(fit));
    await expectCode(
      new RawTensor('float32', [2], async () => new Uint8Array(4)).data(),
      'ERR_SHAPE',
      /8 bytes, not 4/,
    );
  });

  it('refuses impossible shapes and dtypes', () => {
    const bytes = new Uint8Array(0);
    for (const shape of [[-1], [1.5], [2 ** 30, 2 ** 30]]) {
      expect(() => new RawTensor('float32', shape, bytes)).toThrow(
        expect.objectContaining({ code: 'ERR_SHAPE' }),
      );
    }
    expect(() => new RawTensor('toString' as 'bool', [], bytes)).toThrow(
      expect.objectContaining({ code: 'ERR_DTYPE' }),
    );
    expect(new RawTensor('float32', [2 ** 40, 0, 2 ** 40], bytes).size).toBe(0);
  });
});
