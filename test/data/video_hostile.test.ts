import { execFileSync } from 'node:child_process';
import { mkdirSync, readFileSync, symlinkSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { deflateSync } from 'node:zlib';
import { Philox } from '../../lib/base/philox';
import { VideoReader } from '../../lib/data/video_reader';
import { videoAddon } from '../../lib/native/video';
import { fixturePath } from '../support/fixture';
import { inputErrorCodes, numbersIn, temporaryFolder } from '../support/video';

const folder = temporaryFolder();
const clip = (name: string) => fixturePath(`video/${name}`);

function write(name: string, content: string | Uint8Array): string {
  const path = join(folder, name);
  writeFileSync(path, content);
  return path;
}

async function codeOf(promise: Promise<unknown>): Promise<string> {
  try {
    await promise;
  } catch (error) {
    return String((error as { code?: string }).code);
  }
  return 'none';
}

describe('what is not a video file', () => {
  const local = clip('h264_b_frames.mp4');
  const cases: [string, () => string | Uint8Array, string][] = [
    ['missing', () => join(folder, 'none.mp4'), 'ERR_FILE_NOT_FOUND'],
    ['below a file', () => join(local, 'x.mp4'), 'ERR_FILE_NOT_FOUND'],
    ['a directory', () => folder, 'ERR_FILE_READ'],
    ['a device', () => '/dev/zero', 'ERR_FILE_READ'],
    ['empty', () => write('empty.mp4', ''), 'ERR_VIDEO_FORMAT'],
    ['text', () => write('text.mp4', 'this is no video\n'.repeat(100)), 'ERR_VIDEO_FORMAT'],
    ['empty memory', () => new Uint8Array(0), 'ERR_VIDEO_FORMAT'],
    ['zeros in memory', () => new Uint8Array(100000), 'ERR_VIDEO_FORMAT'],
  ];

  test.each(cases)('%s', async (_, source, code) => {
    expect(await codeOf(VideoReader.open(source()))).toBe(code);
  });

  test('a file that was cut off before its index is told from what is no video', async () => {
    const bytes = readFileSync(local);
    const begun = bytes.subarray(0, Math.min(bytes.indexOf('moov'), bytes.length) - 4);
    await expect(VideoReader.open(write('begun.mp4', begun))).rejects.toMatchObject({
      code: 'ERR_VIDEO_FORMAT',
      message: expect.stringMatching(
        /begun\.mp4: begins as an MP4 file, but its index .* is the file cut off\?$/,
      ),
    });
  });

  test('a FIFO is refused at once, not waited for', async () => {
    const path = join(folder, 'fifo.mp4');
    execFileSync('mkfifo', [path]);
    const before = performance.now();
    expect(await codeOf(VideoReader.open(path))).toBe('ERR_FILE_READ');
    expect(performance.now() - before).toBeLessThan(10000);
  });

  test('a picture is no video, though its codec is known', async () => {
    const bytes = readFileSync(clip('mjpeg.mov'));
    const start = bytes.indexOf('ffd8ff', 0, 'hex');
    const jpeg = bytes.subarray(start, bytes.indexOf('ffd8ff', start + 3, 'hex'));
    expect(await codeOf(VideoReader.open(write('picture.mp4', jpeg)))).toBe('ERR_VIDEO_FORMAT');
  });

  test('a file without pictures', async () => {
    // A sound WAVE file: 1000 samples of silence.
    const wave = Buffer.alloc(44 + 2000);
    wave.write('RIFF', 0);
    wave.writeUInt32LE(36 + 2000, 4);
    wave.write('WAVEfmt ', 8);
    wave.writeUInt32LE(16, 16);
    wave.writeUInt16LE(1, 20);
    wave.writeUInt16LE(1, 22);
    wave.writeUInt32LE(8000, 24);
    wave.writeUInt32LE(16000, 28);
    wave.writeUInt16LE(2, 32);
    wave.writeUInt16LE(16, 34);
    wave.write('data', 36);
    wave.writeUInt32LE(2000, 40);
    expect(await codeOf(VideoReader.open(write('sound.mp4', wave)))).toBe('ERR_VIDEO_FORMAT');
  });
});

// Each of these makes FFmpeg's own program open the other file (or try the network).
describe('files that refer to other files are not followed', () => {
  const target = join(folder, 'target.mp4');
  beforeAll(() => writeFileSync(target, readFileSync(clip('h264_b_frames.mp4'))));

  const playlist = (entry: string) =>
    `#EXTM3U\n#EXT-X-TARGETDURATION:5\n#EXTINF:2,\n${entry}\n#EXT-X-ENDLIST\n`;
  const cases: [string, () => string][] = [
    ['HLS named .mp4', () => playlist(target)],
    ['HLS with a relative reference', () => playlist('target.mp4')],
    ['HLS to the network', () => playlist('http://127.0.0.1:9/x.ts')],
    ['HLS through concat:', () => playlist(`concat:${target}|${target}`)],
    ['HLS through subfile:', () => playlist(`subfile,,start,0,end,9999,,:${target}`)],
    ['ffconcat', () => `ffconcat version 1.0\nfile ${target}\nfile ../${target}\n`],
    [
      'DASH',
      () =>
        `<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011"><Period><AdaptationSet><Representation><BaseURL>${target}</BaseURL></Representation></AdaptationSet></Period></MPD>`,
    ],
    [
      'SDP',
      () =>
        'v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 5000 RTP/AVP 96\na=rtpmap:96 H264/90000\n',
    ],
  ];

  test.each(cases)('%s', async (name, content) => {
    for (const extension of ['mp4', 'm3u8', 'ffconcat']) {
      const path = write(`${name.replace(/\W+/g, '_')}.${extension}`, content());
      expect(await codeOf(VideoReader.open(path))).toBe('ERR_VIDEO_FORMAT');
    }
  });

  test.each([
    `file:${target}`,
    `concat:${target}`,
    `subfile,,start,0,end,0,,:${target}`,
    'http://127.0.0.1:9/x.mp4',
    'pipe:0',
    '-',
  ])('%s is a file name and nothing else', async (path) => {
    expect(await codeOf(VideoReader.open(path))).toBe('ERR_FILE_NOT_FOUND');
  });

  test('a symbolic link is followed', async () => {
    const link = join(folder, 'link.mp4');
    symlinkSync(target, link);
    using video = await VideoReader.open(link);
    expect(video.length).toBe(40);
  });
});

describe('limits', () => {
  test('pixels', async () => {
    const open = VideoReader.open(clip('h264_b_frames.mp4'), { maxPixels: 68 * 48 - 1 });
    await expect(open).rejects.toMatchObject({
      code: 'ERR_VIDEO_LIMIT',
      message: expect.stringContaining('68 x 48'),
    });
    using video = await VideoReader.open(clip('h264_b_frames.mp4'), { maxPixels: 68 * 48 });
    expect(video.length).toBe(40);
  });

  // What FFmpeg finds out by decoding is unknown to it where a decoder refuses the size.
  test.each(['mov', 'avi'])('pixels of a .%s, when nobody sets a limit', async (ending) => {
    const path = join(folder, `huge.${ending}`);
    const words = ['-v', 'error', '-f', 'lavfi', '-i', 'color=black:s=8320x8192:d=0.04', '-c:v', 'mjpeg'];
    execFileSync('ffmpeg', [...words, path]);
    await expect(VideoReader.open(path)).rejects.toMatchObject({
      code: 'ERR_VIDEO_LIMIT',
      message: expect.stringContaining('pixels exceed the limit of 67108864 pixels (maxPixels)'),
    });
    using video = await VideoReader.open(path, { shortSide: 64, maxPixels: 2 ** 27 });
    expect([video.length, video.height]).toEqual([1, 64]);
  });

  test('pixels of a stream that becomes larger', async () => {
    const encoded = [64, 128].map((width) => {
      const picture = ['-f', 'lavfi', '-i', `testsrc2=s=${width}x48:r=25:d=0.4`];
      const codec = ['-c:v', 'libx264', '-pix_fmt', 'yuv420p', '-f', 'h264', '-'];
      return execFileSync('ffmpeg', ['-v', 'error', ...picture, ...codec]);
    });
    const bytes = Buffer.concat(encoded);
    using whole = await VideoReader.open(bytes);
    expect([whole.length, whole.width]).toEqual([20, 64]);
    using limited = await VideoReader.open(bytes, { maxPixels: 64 * 48 });
    expect(limited.length).toBe(10);
  });

  test('frames and streams', async () => {
    const few = VideoReader.open(clip('h264_b_frames.mp4'), { maxFrames: 39 });
    await expect(few).rejects.toMatchObject({
      code: 'ERR_VIDEO_LIMIT',
      message: expect.stringContaining('the limit of 39 (maxFrames)'),
    });
    using video = await VideoReader.open(clip('h264_b_frames.mp4'), { maxFrames: 40, maxStreams: 1 });
    expect(video.length).toBe(40);
    expect(await codeOf(VideoReader.open(clip('two_streams.mp4'), { maxStreams: 1 }))).toMatch(
      /^ERR_VIDEO_(LIMIT|FORMAT)$/,
    );
    using both = await VideoReader.open(clip('two_streams.mp4'), { maxStreams: 2 });
    expect(both.length).toBeGreaterThan(0);
  });

  // FFmpeg makes an entry for each sample: 2 GB and ten seconds for a few kilobytes.
  describe('a small file that counts many samples', () => {
    const many = 80_000_000;

    const box = (type: string, ...contents: Uint8Array[]) => {
      const head = Buffer.alloc(8);
      head.writeUInt32BE(8 + contents.reduce((sum, { length }) => sum + length, 0));
      head.write(type, 4);
      return Buffer.concat([head, ...contents]);
    };

    /** The same with a size of 64 bits. */
    const longBox = (type: string, ...contents: Uint8Array[]) => {
      const whole = box(type, numbers(0, 0), ...contents);
      const size = whole.readUInt32BE(0);
      whole.writeUInt32BE(1);
      whole.writeUInt32BE(size, 12);
      return whole;
    };

    const numbers = (...values: number[]) => {
      const bytes = Buffer.alloc(4 * values.length);
      for (const [i, value] of values.entries()) bytes.writeUInt32BE(value, 4 * i);
      return bytes;
    };

    /** The clip with other tables: `count` samples of 16 bytes, and boxes put into some of its own. */
    const counting = (count: number, added: Record<string, Buffer>, sizes = true) => {
      const bytes = readFileSync(clip('h264_b_frames.mp4'));
      const changed: Record<string, Buffer> = {
        stts: box('stts', numbers(0, 1, count, 512)),
        stsc: box('stsc', numbers(0, 1, 1, count, 1)),
        stsz: sizes ? box('stsz', numbers(0, 16, count)) : Buffer.alloc(0),
        ctts: Buffer.alloc(0),
        edts: Buffer.alloc(0),
      };
      const rewrite = (from: number, end: number): Buffer => {
        const parts: Buffer[] = [];
        for (let at = from; at < end; at += bytes.readUInt32BE(at)) {
          const type = bytes.toString('latin1', at + 4, at + 8);
          const whole = bytes.subarray(at, at + bytes.readUInt32BE(at));
          const more = added[type] ?? Buffer.alloc(0);
          if (['moov', 'trak', 'mdia', 'minf', 'stbl'].includes(type)) {
            parts.push(box(type, more, rewrite(at + 8, at + whole.length)));
          } else if (type === 'stsd') {
            const entry = whole.subarray(16);
            const longer = Buffer.concat([numbers(entry.length + more.length), entry.subarray(4), more]);
            parts.push(box('stsd', whole.subarray(8, 16), longer));
          } else {
            parts.push(changed[type] ?? whole);
          }
        }
        return Buffer.concat(parts);
      };
      return rewrite(0, bytes.length);
    };

    const handler = box('hdlr', numbers(0, 0), Buffer.from('mdta'), numbers(0, 0, 0, 0));
    const sizesOf = (count: number) => box('stsz', numbers(0, 16, count));
    test.each<[string, (sizes: Buffer) => Record<string, Buffer>]>([
      ['the description of the samples', (sizes) => ({ stsd: sizes })],
      ['a box of sound in it', (sizes) => ({ stsd: box('wave', sizes) })],
      ['metadata', (sizes) => ({ trak: box('meta', numbers(0), handler, sizes) })],
      ['metadata of QuickTime', (sizes) => ({ trak: box('meta', handler, sizes) })],
      ['a list of tags', (sizes) => ({ trak: box('ilst', sizes) })],
      ['a box whose size has 64 bits', (sizes) => ({ trak: longBox('ilst', sizes) })],
    ])('in a table in %s', async (_, place) => {
      expect(await codeOf(VideoReader.open(counting(many, place(sizesOf(many)), false)))).toBe(
        'ERR_VIDEO_LIMIT',
      );
      // Such a table is one that FFmpeg goes by: with as many samples as the clip has, there are frames.
      const path = write('table_elsewhere.mp4', counting(40, place(sizesOf(40)), false));
      const words = ['-v', 'error', '-count_packets', '-show_entries', 'stream=nb_read_packets'];
      expect(execFileSync('ffprobe', [...words, path], { encoding: 'utf8' })).toContain('nb_read_packets=40');
    });

    test.each([
      ['sizes of less than a byte', { trak: box('stz2', numbers(0, 4, many)) }],
      [
        'chunks of plain sound far into a large file',
        { trak: Buffer.concat([box('stsc', numbers(0, 1, 1, 1024, 1)), box('co64', numbers(0, many))]) },
      ],
    ])('in a table of %s', async (_, added) => {
      expect(await codeOf(VideoReader.open(counting(40, added)))).toBe('ERR_VIDEO_LIMIT');
    });

    test('in a box that goes to the end of the file', async () => {
      const bytes = counting(many, {});
      const headers = bytes.indexOf('moov') - 4;
      expect(headers + bytes.readUInt32BE(headers)).toBe(bytes.length);
      bytes.writeUInt32BE(0, headers);
      expect(await codeOf(VideoReader.open(bytes))).toBe('ERR_VIDEO_LIMIT');
    });

    test('in boxes in boxes, more than a stack has room for', async () => {
      const levels = 2 ** 18;
      const bytes = Buffer.alloc(8 * levels);
      for (let level = 0; level < levels; level++) {
        bytes.writeUInt32BE(bytes.length - 8 * level, 8 * level);
        bytes.write('moov', 8 * level + 4);
      }
      expect(await codeOf(VideoReader.open(bytes))).toBe('ERR_VIDEO_FORMAT');
    });

    test('in many edits', async () => {
      const edits = (count: number) =>
        box('edts', box('elst', numbers(0, count), ...Array(count).fill(numbers(2 ** 31 - 1, 0, 0x10000))));
      await expect(VideoReader.open(counting(1_000_000, { trak: edits(1000) }))).rejects.toMatchObject({
        code: 'ERR_VIDEO_LIMIT',
        message: expect.stringMatching(/: its headers count 1000000 samples in 1000 edits, but the file/),
      });
      // Nor may several tracks together, each of which may.
      const bytes = counting(2000, { trak: edits(1500) });
      const track = bytes.subarray(bytes.indexOf('trak') - 4);
      const two = [bytes, track.subarray(0, track.readUInt32BE())];
      await expect(VideoReader.open(Buffer.concat(two))).rejects.toMatchObject({
        code: 'ERR_VIDEO_LIMIT',
        message: expect.stringContaining(': its headers count 3002000 samples in 1500 edits'),
      });
      // A count of edits that are not there makes nothing.
      const claimed = readFileSync(clip('h264_b_frames.mp4'));
      claimed.writeUInt32BE(10_000_000, claimed.indexOf('elst') + 8);
      using video = await VideoReader.open(claimed);
      expect(video.length).toBe(40);
    });

    test('in chunks of plain sound', async () => {
      const path = join(folder, 'sound.mov');
      const picture = ['-f', 'lavfi', '-i', 'color=size=32x32:rate=1:duration=90'];
      const sound = ['-f', 'lavfi', '-i', 'anullsrc=channel_layout=mono:sample_rate=48000', '-t', '90'];
      execFileSync('ffmpeg', ['-v', 'error', ...picture, ...sound, '-c:v', 'mpeg4', '-c:a', 'pcm_u8', path]);
      // More samples than are harmless, and an edit in each of the two tracks: that is how such files are.
      const bytes = readFileSync(path);
      expect(bytes.toString('latin1').match(/elst/g)).toHaveLength(2);
      using video = await VideoReader.open(path);
      expect(video.length).toBe(90);

      await expect(VideoReader.open(bytes, { stream: 1 })).rejects.toMatchObject({
        code: 'ERR_ARGUMENT',
        message: expect.stringContaining('stream 1 is not a video stream; the file has 2 streams'),
      });

      const at = bytes.lastIndexOf('stsc');
      for (let i = 0; i < bytes.readUInt32BE(at + 8); i++) bytes.writeUInt32BE(2 ** 31 - 1, at + 16 + 12 * i);
      expect(await codeOf(VideoReader.open(bytes))).toBe('ERR_VIDEO_LIMIT');
    });

    test('of chunks that are not there: none is looked for', async () => {
      const bytes = readFileSync(clip('h264_b_frames.mp4'));
      bytes.writeUInt32BE(2 ** 32 - 1, bytes.indexOf('stsc') + 8);
      expect(await codeOf(VideoReader.open(bytes, { deadlineMs: 2000 }))).toBe('ERR_VIDEO_FORMAT');
    });

    test('of one size, in one chunk', async () => {
      const bytes = readFileSync(clip('h264_b_frames.mp4'));
      const put = (box: string, numbers: number[]) => {
        const at = bytes.indexOf(box);
        expect(at).toBeGreaterThan(0);
        for (const [i, number] of numbers.entries()) bytes.writeUInt32BE(number, at + 8 + 4 * i);
      };
      put('stsz', [1, many]);
      put('stsc', [1, 1, many]);
      put('stts', [1, many, 512]);
      bytes.write('free', bytes.indexOf('ctts'));
      const open = VideoReader.open(write('many.mp4', bytes));
      await expect(open).rejects.toMatchObject({
        code: 'ERR_VIDEO_LIMIT',
        message: expect.stringMatching(
          /many\.mp4: its headers count 80000000 samples, but the file has \d+ bytes/,
        ),
      });
      // Nor all tracks together.
      put('stsz', [1, 4_000_000]);
      const track = bytes.subarray(bytes.indexOf('trak') - 4);
      track.writeUInt32BE(track.length); // the second one, behind the first
      expect(await codeOf(VideoReader.open(Buffer.concat([bytes, track])))).toBe('ERR_VIDEO_LIMIT');
    });

    test('in a fragment', async () => {
      const run = Buffer.alloc(8); // no flags: all of the default size
      run.writeUInt32BE(many, 4);
      const fragment = box('moof', box('mfhd', Buffer.alloc(8)), box('traf', box('trun', run)));
      const bytes = Buffer.concat([readFileSync(clip('h264_b_frames.mp4')), fragment]);
      expect(await codeOf(VideoReader.open(bytes))).toBe('ERR_VIDEO_LIMIT');
    });

    test('in compressed headers, which are read by nobody', async () => {
      const plain = readFileSync(clip('mjpeg.mov'));
      const at = plain.indexOf('moov') - 4;
      const headers = plain.subarray(at, at + plain.readUInt32BE(at));
      const size = Buffer.alloc(4);
      size.writeUInt32BE(headers.length);
      const packed = box('cmvd', size, deflateSync(headers));
      const folded = box('moov', box('cmov', box('dcom', Buffer.from('zlib')), packed));
      const bytes = Buffer.concat([plain.subarray(0, at), folded, plain.subarray(at + headers.length)]);
      const path = write('old.mov', bytes);
      // FFmpeg unfolds them: this is such a file.
      const entries = ['-v', 'error', '-show_entries', 'stream=nb_frames'];
      expect(execFileSync('ffprobe', [...entries, path], { encoding: 'utf8' })).toMatch(/nb_frames=[1-9]/);
      await expect(VideoReader.open(path)).rejects.toMatchObject({
        code: 'ERR_VIDEO_FORMAT',
        message: expect.stringMatching(/old\.mov: its headers are compressed \(cmov\)/),
      });
    });
  });

  test.each([
    { maxFrames: 0 },
    { maxStreams: 0 },
    { probeBytes: 1 },
    { threads: 0 },
    { threads: 1.5 },
    { maxPixels: -1 },
    { deadlineMs: 0 },
    { stream: -1 },
    { stream: '0' as unknown as number },
  ])('%j is refused', async (options) => {
    expect(await codeOf(VideoReader.open(clip('av1.mkv'), options))).toBe('ERR_ARGUMENT');
  });

  test.each([
    undefined,
    null,
    5,
    {},
    { path: '' },
    { path: 'a\0b' },
    { path: 'a', offset: -1 },
    { path: 'a', length: -1 },
    { data: 'text' },
  ])('source %j is refused', async (source) => {
    expect(await codeOf(videoAddon().openVideo(source as never))).toBe('ERR_ARGUMENT');
  });
});

describe('damage', () => {
  test('a truncated file', async () => {
    for (const name of ['h264_b_frames.mp4', 'mjpeg.mov']) {
      const bytes = readFileSync(clip(name));
      const path = write(`cut_${name}`, bytes);
      truncateSync(path, bytes.length >> 1);
      expect(inputErrorCodes).toContain(await codeOf(VideoReader.open(path)));
    }
  });

  test('a damaged frame is named with its time, and the others are read', async () => {
    const bytes = Buffer.from(readFileSync(clip('mjpeg.mov')));
    const starts: number[] = [];
    for (let at = bytes.indexOf('ffd8ff', 0, 'hex'); at >= 0; at = bytes.indexOf('ffd8ff', at + 3, 'hex'))
      starts.push(at);
    expect(starts).toHaveLength(40);
    bytes.fill(0, starts[10]!, starts[11]!);
    const path = write('one_bad.mov', bytes);
    using video = await VideoReader.open(path);
    await expect(video.get(10)).rejects.toMatchObject({
      code: 'ERR_VIDEO_DECODE',
      message: expect.stringMatching(/one_bad\.mov: frame 10 of 40 \(at 0\.4 s\)/),
    });
    const others = await video.getBatch([9, 11, 39]);
    expect(numbersIn(others, video.width, video.height)).toEqual([9, 11, 39]);
  });

  test('a picture that the decoder had to make up in part is an error', async () => {
    const bytes = Buffer.from(readFileSync(clip('h264_b_frames.mp4')));
    const slice = bytes.indexOf('mdat') + 4;
    bytes.fill(0x55, slice + 740, slice + 770); // inside the first picture
    using video = await VideoReader.open(Uint8Array.from(bytes));
    await expect(video.get(0)).rejects.toMatchObject({
      code: 'ERR_VIDEO_DECODE',
      message: expect.stringContaining('frame 0 of 40 (at 0 s)'),
    });
    expect(numbersIn(await video.get(30), video.width, video.height)).toEqual([30]);
  });

  test.each([
    'h264_b_frames.mp4',
    'hevc_open_gop.mp4',
    'h264_open_gop.mkv',
    'h264_transport.m2t',
    'vp9_hidden_frames.webm',
    'mpeg4_b_frames.avi',
    'av1.mkv',
  ])('random changes of %s give frames or a coded error', async (name) => {
    const original = Uint8Array.from(readFileSync(clip(name)));
    const random = new Philox(11, original.length);
    for (let round = 0; round < 60; round++) {
      let bytes = Uint8Array.from(original);
      const changes = 1 + random.integer(round % 2 === 0 ? 4 : 200);
      for (let i = 0; i < changes; i++) bytes[random.integer(bytes.length)] = random.integer(256);
      if (round % 5 === 0) bytes = bytes.slice(0, 1 + random.integer(bytes.length));
      try {
        using video = await VideoReader.open(bytes, { deadlineMs: 20000, maxPixels: 1 << 20 });
        const indices = [video.length - 1, 0, video.length >> 1];
        expect(await video.getBatch(indices)).toHaveLength(3 * video.width * video.height * 3);
      } catch (error) {
        expect(inputErrorCodes).toContain((error as { code?: string }).code);
      }
    }
  });
});

test('a name that is no UTF-8 text and a very long one are errors, not crashes', async () => {
  mkdirSync(join(folder, 'deep'));
  expect(await codeOf(VideoReader.open(join(folder, 'x'.repeat(5000))))).toBe('ERR_FILE_READ');
  expect(await codeOf(VideoReader.open('\ud800.mp4'))).toBe('ERR_FILE_NOT_FOUND');
});
