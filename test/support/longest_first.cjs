const { default: Sequencer } = require('@jest/test-sequencer'); // a part of jest

// Files of few lines that run for a minute or two, in programs and processes of their own.
const LONG =
  /\/(cuda_test|ptx|collectives|gpu_check|demo|launch|commands|recorded_steps|device_training|large_products)\.test\.ts$/;

/** Where nothing is known of earlier runs, the longest files come first: jest would go by their sizes, and wait at the end. */
module.exports = class LongestFirst extends Sequencer {
  async sort(tests) {
    const sorted = await super.sort(tests);
    const long = sorted.filter(({ path }) => LONG.test(path));
    return [...long, ...sorted.filter((test) => !long.includes(test))];
  }
};
