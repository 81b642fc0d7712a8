import { crc32, inflateSync } from 'node:zlib';
import { Philox } from '../../lib/base/philox';
import { encodePng } from '../../lib/engine/png';

/** Undoes encodePng with the rules of the PNG specification (filters 0 and 1 only). */
function decode(file: Buffer): { width: number; height: number; pixels: Uint8Array } {
  expect(file.subarray(0, 8).toString('latin1')).toBe('\x89PNG\r\n\x1a\n');
  const chunks = new Map<string, Buffer>();
  for (let at = 8; at < file.length; ) {
    const length = file.readUInt32BE(at);
    const body = file.subarray(at + 4, at + 8 + length);
    expect(file.readUInt32BE(at + 8 + length)).toBe(crc32(body));
    chunks.set(body.toString('latin1', 0, 4), body.subarray(4));
    at += 12 + length;
  }
  expect([...chunks.keys()]).toEqual(['IHDR', 'IDAT', 'IEND']);
  const header = chunks.get('IHDR')!;
  const [width, height] = [header.readUInt32BE(0), header.readUInt32BE(4)];
  expect([...header.subarray(8)]).toEqual([8, 2, 0, 0, 0]);
  const raw = inflateSync(chunks.get('IDAT')!);
  const pixels = new Uint8Array(3 * width * height);
  for (let y = 0; y < height; y++) {
    const filter = raw[y * (3 * width + 1)]!;
    expect(filter).toBeLessThan(2);
    for (let x = 0; x < 3 * width; x++) {
      const left = filter === 1 && x >= 3 ? pixels[y * 3 * width + x - 3]! : 0;
      pixels[y * 3 * width + x] = raw[y * (3 * width + 1) + 1 + x]! + left;
    }
  }
  return { width, height, pixels };
}

test.each([
  [1, 1],
  [5, 3],
  [64, 17],
])('a picture of %d x %d comes back from a PNG', (width, height) => {
  const random = new Philox(width, height);
  const pixels = Uint8Array.from({ length: 3 * width * height }, () => random.integer(256));
  expect(decode(encodePng(pixels, width, height))).toEqual({ width, height, pixels });
});
