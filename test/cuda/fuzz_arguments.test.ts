import { expectCodedRefusals } from '../support/fuzz_arguments';

jest.setTimeout(240_000);

test('whatever functions of the compute addon are given on the emulated device, they work or say what is wrong', () => {
  expectCodedRefusals(process.env.NATIVE_COMPUTE_PATH!, 20_000, 'cuda');
});
