import { PassThrough } from 'node:stream';
import { ProgressBar } from '../../lib/cli/progress';

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
