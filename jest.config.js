const { availableParallelism } = require('node:os');

/** @type {import('jest').Config} */
const shared = {
  testEnvironment: 'node',
  transform: { '\\.ts$': ['ts-jest', { tsconfig: '<rootDir>/test/tsconfig.json', diagnostics: false }] },
  setupFilesAfterEnv: ['<rootDir>/test/support/collect_garbage.ts'],
  // A test file's globals are behind an interceptor, which sums in float64 would pay at every step.
  sandboxInjectedGlobals: [
    'Math',
    'Number',
    'Array',
    'Object',
    'BigInt',
    'Float32Array',
    'Float64Array',
    'Uint16Array',
    'Int32Array',
  ],
  modulePathIgnorePatterns: ['<rootDir>/prebuilt/'], // has another package.json of the same name
};

/** Tests of the project `cuda` that decode videos or compare with the decode addon. */
const VIDEO_TESTS = [
  'ops/pixels.test',
  'xclip/(input|classify).test',
  'engine/(device_training|full_device|recorded_steps).test',
];

// `cpu` is every test. `cuda` is those that compute, once more on a CUDA device: the emulated one, or with TEST_GPU=1 a
// real one (npm run test:gpu).
/** @type {import('jest').Config} */
module.exports = {
  testTimeout: 60000,
  // One less than cores, as usual, but two on two: most tests use several cores for moments and one otherwise, and so they
  // take a third less time.
  maxWorkers: Math.max(2, availableParallelism() - 1),
  // Each file leaves an AsyncLocalStorage of the test runner's behind in its process, and Node 20 hands every one of them on
  // to every new promise: after some 40 files a promise takes ten times the memory and time, and files that make many ran
  // out of heap. So a process is replaced after a few files.
  workerIdleMemoryLimit: 3e8,
  testSequencer: '<rootDir>/test/support/longest_first.cjs',
  projects: [
    {
      ...shared,
      displayName: 'cpu',
      testMatch: ['<rootDir>/test/**/*.test.ts'],
      testPathIgnorePatterns: ['<rootDir>/test/cuda/'],
      setupFiles: ['<rootDir>/test/support/cpu_device.ts'],
    },
    {
      ...shared,
      displayName: 'cuda',
      testMatch: [
        '<rootDir>/test/{cuda,models,nn,ops,optim,tensor}/**/*.test.ts',
        '<rootDir>/test/native/device.test.ts',
        '<rootDir>/test/engine/{device_training,full_device,recorded_steps}.test.ts',
      ],
      testPathIgnorePatterns: [
        'instruction_sets', // of the CPU, as are the next three
        'thread_count',
        'large_products',
        'packed_weights',
        ...(process.env.TEST_GPU === '1' ? ['/test/cuda/'] : []), // of programs for the emulated device
        // Where the decode addon cannot be built: scripts/gpu-check.sh says so in its report.
        ...(process.env.TEST_WITHOUT_VIDEO === '1' ? VIDEO_TESTS : []),
      ],
      setupFiles: ['<rootDir>/test/support/cuda_device.ts'],
      setupFilesAfterEnv: [...shared.setupFilesAfterEnv, '<rootDir>/test/support/expect_cuda.ts'],
    },
  ],
};
