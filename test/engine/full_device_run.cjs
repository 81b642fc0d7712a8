// A process of full_device.test.ts: a run whose device has no memory left from a moment on, told of by lines of JSON.
const { join } = require('node:path');
const dist = join(__dirname, '../../dist');
const { loadConfig } = require(join(dist, 'config'));
const { run } = require(join(dist, 'engine'));
const { zeros } = require(dist);

const [cfg, cue, ...opts] = process.argv.slice(2);
const rest = [];
let recorded = false;

/** Takes what is free, in ever smaller pieces. */
function fill() {
  for (let bytes = 2 ** 24; bytes >= 512; bytes /= 4) {
    try {
      for (;;) rest.push(zeros([bytes / 4], { device: 'cuda' }));
    } catch (error) {
      if (error.code !== 'ERR_OUT_OF_MEMORY') throw error;
    }
  }
}

const listener = (event) => {
  console.log(JSON.stringify(event));
  if (event.kind !== 'message') return;
  recorded ||= event.text.includes('are CUDA graphs');
  if (recorded && rest.length === 0 && event.text.includes(cue)) fill();
};

run(loadConfig({ cfg, opts }), { listener }).catch((error) => {
  console.error(error);
  process.exitCode = 1;
});
