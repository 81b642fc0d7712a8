import { PassThrough } from 'node:stream';
import { ProgressBar } from '../../lib/cli/progress';

/** The lines that a terminal of this many columns is sent. */
function drawn(columns: number): string[] {
  const stream = Object.assign(new PassThrough(), { isTTY: true, columns });
  const bar = new ProgressBar(stream as unknown as NodeJS.WriteStream);
  for (const step of [0, 50]) bar.show('epoch 12/20', { step, steps: 1203 }, 'loss 10.6850');
  bar.stop();
  const sent = String(stream.read());
  // biome-ignore lint/suspicious/noControlCharactersInRegex: it is these that move the cursor
  return sent.split(/\x1b[^A-Za-z]*[A-Za-z]|[\r\n]/).filter((text) => text.includes('epoch'));
}

test.each([44, 80, 200])('count and figure are within %d columns', (columns) => {
  const lines = drawn(columns);
  expect(lines.length).toBeGreaterThan(0);
  for (const line of lines) {
    expect(line).toMatch(/^epoch 12\/20 [█░]* \d+\/1203 \S+ loss 10\.6850$/);
    expect(line.length).toBeLessThanOrEqual(columns);
    expect(line.replace(/[^█░]/g, '')).toHaveLength(Math.min(40, columns - 44));
  }
});
