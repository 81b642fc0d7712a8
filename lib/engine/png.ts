import { crc32, deflateSync } from 'node:zlib';

/**
 * A picture as a PNG file.
 *
 * @param pixels RGB bytes [height, width, 3]
 * @returns the bytes of an 8-bit true-colour PNG without interlacing
 */
export function encodePng(pixels: Uint8Array, width: number, height: number): Buffer {
  const stride = 3 * width;
  // Each row starts with its filter; 1 predicts a byte by the one a pixel to the left, which suits photographs.
  const filtered = Buffer.alloc(height * (stride + 1));
  for (let y = 0; y < height; y++) {
    const start = y * (stride + 1);
    filtered[start] = 1;
    for (let x = 0; x < stride; x++) {
      const left = x < 3 ? 0 : pixels[y * stride + x - 3]!;
      filtered[start + 1 + x] = (pixels[y * stride + x]! - left) & 255;
    }
  }
  const header = Buffer.alloc(13);
  header.writeUInt32BE(width, 0);
  header.writeUInt32BE(height, 4);
  header.set([8, 2, 0, 0, 0], 8); // 8 bits, RGB, deflate, adaptive filters, not interlaced
  return Buffer.concat([
    Buffer.from([0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a]),
    chunk('IHDR', header),
    chunk('IDAT', deflateSync(filtered)),
    chunk('IEND', Buffer.alloc(0)),
  ]);
}

function chunk(type: string, data: Buffer): Buffer {
  const body = Buffer.concat([Buffer.from(type, 'latin1'), data]);
  const length = Buffer.alloc(4);
  length.writeUInt32BE(data.length);
  const checksum = Buffer.alloc(4);
  checksum.writeUInt32BE(crc32(body));
  return Buffer.concat([length, body, checksum]);
}
