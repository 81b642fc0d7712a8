import { type Source, sources } from './sources';

// Pointers to what is only read, said to be the only ones: the compiler then reads through a cache that takes the memory
// for constant as long as the kernel runs. The grid in front may still be writing it when a kernel starts.
function constantReads({ path, text }: Source): string[] {
  return [...text.matchAll(/\bconst\s+[\w:<> ]+\*\s*__restrict__\s+\w+|__ldg\(/g)].map(
    ([found]) => `${path}: ${found.replace(/\s+/g, ' ')}`,
  );
}

test('kernels take nothing for constant that the grid in front may write', () => {
  expect(sources(['cuda'], ['.cu', '.cuh']).flatMap(constantReads)).toEqual([]);
});

test('such a pointer would be found', () => {
  const found = (text: string) => constantReads({ path: 'cuda/a.cu', text });
  expect(found('void k(const T* __restrict__ x, T* __restrict__ y)')).toEqual([
    'cuda/a.cu: const T* __restrict__ x',
  ]);
  expect(found('const typename R::Value*\n    __restrict__ values')).toHaveLength(1);
  expect(found('const unsigned long long* __restrict__ sums')).toHaveLength(1);
  expect(found('y = __ldg(x)')).toHaveLength(1);
  expect(found('const T* x, T* __restrict__ y, const Output<R> output')).toEqual([]);
});
