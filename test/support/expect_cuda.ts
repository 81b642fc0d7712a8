import { defaultDevice } from '../../lib/native/device';

// The emulated device takes a thousand times as long as a real one.
jest.setTimeout(600_000);

beforeAll(() => {
  if (defaultDevice() !== 'cuda') throw new Error('the project "cuda" must compute on a CUDA device');
});
