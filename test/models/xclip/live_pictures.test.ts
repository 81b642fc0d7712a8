import { once } from 'node:events';
import { Readable } from 'node:stream';
import { LiveWindows } from '../../../lib/models/xclip/live_pictures';

const never = new AbortController().signal;

/** Pictures of one pixel, [i, i, i] each, in pieces of `size` bytes. */
async function* counted(count: number, size: number, log: number[] = []) {
  const bytes = Uint8Array.from({ length: count * 3 }, (_, i) => Math.floor(i / 3));
  for (let at = 0; at < bytes.length; at += size) {
    log.push(at / 3);
    yield bytes.subarray(at, at + size);
  }
}
const pixel = { width: 1, height: 1 };

async function windowsOf(windows: LiveWindows): Promise<[number, number, string][]> {
  const found: [number, number, string][] = [];
  for (let k = 0; ; k++) {
    const part = await windows.read(k, never);
    if (!part) return found;
    found.push([part.from, part.to, part.pictures.map((picture) => picture[0]).join(' ')]);
  }
}

describe('windows', () => {
  test.each([
    [
      'one after the other',
      10,
      5,
      1,
      1,
      [
        [0, 1, '0 1 2 3 4'],
        [1, 2, '5 6 7 8 9'],
      ],
    ],
    [
      'overlapping',
      5,
      4,
      1,
      0.5,
      [
        [0, 1, '0 1 2 3'],
        [0.5, 1.25, '2 3 4'],
        [1, 1.25, '4'],
      ],
    ],
    [
      'with pictures between that nobody sees',
      9,
      4,
      0.5,
      1,
      [
        [0, 0.5, '0 1'],
        [1, 1.5, '4 5'],
        [2, 2.25, '8'],
      ],
    ],
    [
      'of times that are no pictures',
      4,
      3,
      0.5,
      0.5,
      [
        [0, 0.5, '0 1'],
        [0.5, 1, '1 2'],
        [1, 4 / 3, '3'],
      ],
    ],
    ['none where there are no pictures', 0, 3, 1, 1, []],
  ] as [string, number, number, number, number, unknown[]][])(
    '%s',
    async (_, count, fps, window, stride, expected) => {
      for (const size of [1, 3, 7, 1000]) {
        const windows = new LiveWindows({ stream: counted(count, size), ...pixel, fps }, window, stride);
        expect(await windowsOf(windows)).toEqual(expected);
      }
    },
  );

  test('rates that are no whole numbers do not lose pictures, however long it lasts', async () => {
    const windows = new LiveWindows(
      { stream: counted(3000, 3000), ...pixel, fps: 30000 / 1001 },
      1.001,
      1.001,
    );
    const found = await windowsOf(windows);
    expect(found).toHaveLength(100);
    expect(found.every(([, , pictures]) => pictures.split(' ').length === 30)).toBe(true);
  });

  test('times that are whole numbers of pictures but for rounding take no picture of the next window', async () => {
    const windows = new LiveWindows({ stream: counted(4, 5), ...pixel, fps: 10 }, 0.1, 0.1);
    expect((await windowsOf(windows)).map(([, , pictures]) => pictures)).toEqual(['0', '1', '2', '3']);
  });

  test('a window is there as soon as its last picture is', async () => {
    const log: number[] = [];
    const windows = new LiveWindows({ stream: counted(100, 3, log), ...pixel, fps: 4 }, 1, 1);
    await windows.read(0, never);
    expect(log.at(-1)).toBe(3);
  });

  test('a stream that ends within a picture, or gives something else, is an error', async () => {
    const cut = new LiveWindows({ stream: counted(3, 4), width: 2, height: 1, fps: 1 }, 9, 9);
    await expect(cut.read(0, never)).rejects.toMatchObject({
      code: 'ERR_SHAPE',
      message: expect.stringContaining('after 3 of its 6 bytes; are pictures 2 x 1'),
    });
    const texts = Readable.from(['text']) as AsyncIterable<never>;
    const wrong = new LiveWindows({ stream: texts, ...pixel, fps: 1 }, 9, 9);
    await expect(wrong.read(0, never)).rejects.toMatchObject({ code: 'ERR_ARGUMENT' });
  });

  test('waiting for a picture ends with the signal, and closing ends the stream', async () => {
    const stream = new Readable({ read() {} });
    const abort = new AbortController();
    const windows = new LiveWindows({ stream, ...pixel, fps: 1 }, 1, 1);
    const reading = windows.read(0, abort.signal);
    abort.abort();
    await expect(reading).rejects.toMatchObject({ code: 'ERR_ABORTED' });
    windows.close();
    await once(stream, 'close');
  });
});
