import { AverageMeter, formatDuration } from '../../lib/engine/meters';

test('an average counts each value by its weight', () => {
  const meter = new AverageMeter();
  expect(meter.average).toBe(0);
  meter.update(1, 2);
  meter.update(4);
  expect(meter.value).toBe(4);
  expect(meter.average).toBe(2);
});

test.each([
  [0, '0:00:00'],
  [59.9, '0:00:59'],
  [3725, '1:02:05'],
  [86400, '1 day, 0:00:00'],
  [2 * 86400 + 36061, '2 days, 10:01:01'],
  [-3, '0:00:00'],
])('%d seconds are %s', (seconds, text) => {
  expect(formatDuration(seconds)).toBe(text);
});
