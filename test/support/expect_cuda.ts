import { defaultDevice } from '../../lib/native/device';

beforeAll(() => {
  if (defaultDevice() !== 'cuda') throw new Error('the project "cuda" must compute on a CUDA device');
});
