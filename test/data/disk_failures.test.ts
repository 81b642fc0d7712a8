import { DiskFailures } from '../../lib/data/disk_failures';

test('a refusal stands once a video that was begun later is read, not one that was under way', () => {
  const disk = new DiskFailures<string>();
  const before = disk.now();
  disk.add('a', 'a: Input/output error');
  expect(disk.release(before)).toEqual([]);
  const after = disk.now();
  disk.add('b', 'b: Input/output error');
  expect(disk.release(after)).toEqual(['a']);
  expect(disk.release()).toEqual(['b']);
  expect(disk.release()).toEqual([]);
});

test('bad spots here and there end nothing, 64 refusals in a row do', () => {
  const disk = new DiskFailures<number>();
  for (let i = 0; i < 1000; i++) {
    const begun = disk.now();
    if (i % 64 === 0) disk.release(begun);
    else disk.add(i, `${i}.mp4: Input/output error`);
  }
  disk.release();
  for (let i = 0; i < 63; i++) disk.add(i, `${i}.mp4: Input/output error`);
  expect(() => disk.add(63, '63.mp4: Input/output error')).toThrow(
    /^64 videos in a row could not be read, .* The last: 63\.mp4/,
  );
});
