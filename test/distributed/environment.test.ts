import { jobFromEnvironment } from '../../lib/distributed/environment';

const complete = {
  WORLD_SIZE: '4',
  RANK: '3',
  LOCAL_RANK: '1',
  MASTER_ADDR: '10.0.0.1',
  MASTER_PORT: '29500',
};

test('reads the variables of torchrun', () => {
  expect(jobFromEnvironment({ ...complete, JOB_TOKEN: 'secret' })).toEqual({
    rank: 3,
    worldSize: 4,
    localRank: 1,
    host: '10.0.0.1',
    port: 29500,
    token: 'secret',
  });
  expect(jobFromEnvironment({ ...complete, LOCAL_RANK: undefined })).toMatchObject({
    localRank: 3,
    token: '',
  });
});

test('one process is no job', () => {
  expect(jobFromEnvironment({})).toBeNull();
  expect(jobFromEnvironment({ WORLD_SIZE: '1', RANK: '0' })).toBeNull();
});

test.each([
  ['WORLD_SIZE', 'two', /WORLD_SIZE is "two", not a number in 1\.\.65536/],
  ['WORLD_SIZE', '0', /WORLD_SIZE is "0"/],
  ['RANK', undefined, /RANK is missing/],
  ['RANK', '4', /RANK is "4", not a number in 0\.\.3/],
  ['RANK', '-1', /RANK is "-1"/],
  ['MASTER_ADDR', undefined, /MASTER_ADDR is missing/],
  ['MASTER_PORT', '70000', /MASTER_PORT is "70000"/],
])('%s=%s is refused', (name, value, message) => {
  expect(() => jobFromEnvironment({ ...complete, [name]: value })).toThrow(
    expect.objectContaining({ code: 'ERR_DISTRIBUTED', message: expect.stringMatching(message) }),
  );
});
