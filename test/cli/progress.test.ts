import { PassThrough } from 'node:stream';
import {
  badVideoListener,
  listingReports,
  openProgressBar,
  ProgressBar,
  progressListener,
} from '../../lib/cli/progress';
import type { EngineEvent, TrainStep } from '../../lib/engine/events';

/** The lines that a terminal of this many columns is sent. */
function drawn(columns: number, what: string, steps: number, figure: string): string[] {
  const stream = Object.assign(new PassThrough(), { isTTY: true, columns });
  const bar = new ProgressBar(stream as unknown as NodeJS.WriteStream);
  for (const step of [0, Math.floor(steps / 2)]) bar.show(what, { step, steps }, figure);
  bar.stop();
  let sent = '';
  for (let piece = stream.read(); piece !== null; piece = stream.read()) sent += piece; // all at once only before Node 26
  // biome-ignore lint/suspicious/noControlCharactersInRegex: it is these that move the cursor
  return sent.split(/\x1b[^A-Za-z]*[A-Za-z]|[\r\n]/).filter((text) => text.includes(what));
}

test.each([
  [40, 'verify', 30, '0 bad', 12],
  [40, 'epoch 30/30', 7500, 'loss 5.9915', 0],
  [60, 'list train-000146.tar', 100000, 'MB', 12],
  [80, 'test', 4960, 'Acc@1 100.0', 40],
  [200, 'verify', 30, '0 bad', 40],
  [20, 'verify', 30, '0 bad', 0],
])('in %d columns the numbers of "%s" have room beside the bar', (columns, what, steps, figure, size) => {
  const lines = drawn(columns, what, steps, figure);
  expect(lines.length).toBeGreaterThan(0);
  for (const line of lines) {
    expect(line).toMatch(/^\D.* [█░]* \d+\/\d+ \S+ .+$/);
    if (columns >= 40) expect(line.length).toBeLessThanOrEqual(columns);
    expect(line.replace(/[^█░]/g, '')).toHaveLength(size);
  }
});

describe('what the engine tells', () => {
  const { isTTY } = process.stderr;
  const { TERM } = process.env;
  let out = '';
  let err = '';
  beforeEach(() => {
    [out, err] = ['', ''];
    process.stderr.isTTY = true;
    process.env.TERM = 'xterm';
    jest.spyOn(process.stdout, 'write').mockImplementation((text) => {
      out += text;
      return true;
    });
    jest.spyOn(process.stderr, 'write').mockImplementation((text) => {
      err += text;
      return true;
    });
  });
  afterEach(() => {
    jest.restoreAllMocks();
    process.stderr.isTTY = isTTY;
    if (TERM === undefined) delete process.env.TERM;
    else process.env.TERM = TERM;
  });

  const step = { kind: 'train', epoch: 1, epochs: 3, steps: 4, loss: 2.5, logged: false } as TrainStep;
  const [clear, showCursor] = ['\r\x1b[K', '\x1b[?25h'];

  test('is a bar on a terminal, which makes room for lines and goes when it is full or nothing more comes', () => {
    const listener = progressListener();
    listener({ ...step, step: 1 });
    expect(err).toContain('epoch 2/3');
    err = '';
    listener({ kind: 'message', text: 'a line' });
    expect([out, err]).toEqual(['a line\n', clear]);
    err = '';
    listener({ kind: 'message', text: 'a line', warning: true });
    expect([out, err]).toEqual(['a line\n', `${clear}warning: a line\n`]);
    listener({ ...step, step: 3 });
    expect(err).toContain(showCursor);
    err = '';
    listener({ kind: 'test', step: 0, steps: 2, top1: 50, logged: false });
    expect(err).toMatch(/test .* Acc@1 50\.0/);
    expect(err).not.toContain(showCursor);
    listener.stop();
    expect(err).toContain(showCursor);
  });

  test.each(['failure', 'damage'] as const)('of a bad video (%s) is a warning, of every process', (kind) => {
    process.stderr.isTTY = false;
    const bad = {
      kind,
      epoch: 0,
      index: 2,
      where: 'list.txt:3',
      path: 'a.mp4',
      code: 'X',
      reason: 'it is bad',
    };
    for (const listener of [progressListener(), badVideoListener()]) {
      [out, err] = ['', ''];
      listener(bad as EngineEvent);
      expect([out, err]).toEqual([
        '',
        expect.stringMatching(/^warning X: list\.txt:3: a\.mp4: it is bad\n$/),
      ]);
      listener({ kind: 'message', text: 'a line' });
    }
    expect(out).toBe(''); // other lines are those of rank 0
  });

  test.each([
    ['no terminal', false, 'xterm'],
    ['a terminal that cannot show one', true, 'dumb'],
  ])('is no bar on %s', (_, terminal, term) => {
    process.stderr.isTTY = terminal;
    process.env.TERM = term;
    expect(openProgressBar()).toBeUndefined();
    const listener = progressListener();
    const events: EngineEvent[] = [
      { ...step, step: 1 },
      { kind: 'message', text: 'a line' },
    ];
    events.forEach(listener);
    listener.stop();
    expect([out, err]).toEqual(['a line\n', '']);
  });

  test('of a listing is how many megabytes are gone through, and a line where it takes long', () => {
    const show = jest.spyOn(ProgressBar.prototype, 'show').mockImplementation();
    const report = listingReports(new ProgressBar());
    for (const done of [0, 5e10, 1e11]) report('/data/k400.tar', done, 1e11);
    expect(show.mock.calls).toEqual(
      [0, 49_999, 99_999].map((at) => ['list k400.tar', { step: at, steps: 100_000 }, 'MB']),
    );
    expect([out, err]).toEqual(['', 'listing the 100 GB of /data/k400.tar, once\n']);
  });
});
