import { createHash } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

/** A folder that is removed after the tests of the file. */
export function temporaryFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), 'video-'));
  afterAll(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

export function sha256(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex');
}

/**
 * Frames first..first+count-1 of an endless film, RGB [count, height, width, 3]: a moving gradient with the frame number
 * as two rows of four 16 x 16 blocks, least significant bit first. At least 64 x 32 pixels.
 */
export function numberedFrames(count: number, width = 64, height = 48, first = 0): Uint8Array {
  const rgb = new Uint8Array(count * height * width * 3);
  let at = 0;
  for (let number = first; number < first + count; number++) {
    for (let y = 0; y < height; y++) {
      for (let x = 0; x < width; x++) {
        const inBlocks = x < 64 && y < 32;
        const level = (number >> ((y >> 4) * 4 + (x >> 4))) & 1 ? 240 : 15;
        rgb[at++] = inBlocks ? level : (x * 3 + number * 5) & 255;
        rgb[at++] = inBlocks ? level : (y * 5) & 255;
        rgb[at++] = inBlocks ? level : (200 - y) & 255;
      }
    }
  }
  return rgb;
}

/** The numbers burnt into frames [n, height, width, 3]. */
export function numbersIn(rgb: Uint8Array, width: number, height: number): number[] {
  const size = width * height * 3;
  return Array.from({ length: rgb.length / size }, (_, frame) => {
    let number = 0;
    for (let bit = 0; bit < 8; bit++) {
      const pixel = ((bit >> 2) * 16 + 8) * width + (bit % 4) * 16 + 8;
      if (rgb[frame * size + pixel * 3 + 1]! > 128) number |= 1 << bit;
    }
    return number;
  });
}

/** Every code that damaged or hostile input may give. */
export const inputErrorCodes = [
  'ERR_VIDEO_FORMAT',
  'ERR_VIDEO_EMPTY',
  'ERR_VIDEO_DECODE',
  'ERR_VIDEO_LIMIT',
  'ERR_VIDEO_TIMEOUT',
];
