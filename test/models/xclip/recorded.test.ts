import type { XCLIP } from '../../../lib/models/xclip/xclip';
import { defaultDevice, setProfiling, synchronize, takeProfile } from '../../../lib/native/device';
import { mul } from '../../../lib/ops';
import { noGrad } from '../../../lib/tensor/autograd';
import { scope } from '../../../lib/tensor/scope';
import type { Tensor } from '../../../lib/tensor/tensor';
import { loadTiny, tinyFrames, tinyTokens } from '../../support/tiny_model';

// On CUDA the video side and the scores are recorded when a shape comes for the second time. Off, or on the CPU, nothing is; numbers are
// the same bits.
const onCuda = defaultDevice() === 'cuda';

let recorded: XCLIP;
let plain: XCLIP;
let frames: Tensor;
afterEach(() => {
  for (const own of [recorded, plain, frames]) own.dispose();
});

async function logits(model: XCLIP, clips: Tensor) {
  const result = noGrad(() => model.forward(clips, tinyTokens()));
  const data = await result.data();
  result.dispose();
  return data;
}

test.each(['float32', 'bfloat16'] as const)(
  'a recorded model says what a plain one says, in %s',
  async (dtype) => {
    frames = tinyFrames();
    recorded = await loadTiny({ dtype });
    plain = await loadTiny({ dtype, cudaGraph: false });
    setProfiling(true);
    takeProfile();
    for (let pass = 0; pass < 6; pass++) {
      if (pass === 3) {
        // As a training step or loading would.
        for (const model of [recorded, plain]) {
          scope(() => {
            const changed = [...model.visual.parameters(), ...model.prompts_generator.parameters()];
            for (const one of [...changed, model.logit_scale]) noGrad(() => one.assign(mul(one, 0.9)));
          });
        }
      }
      scope(() => frames.assign(mul(frames, 1 - 0.1 * pass)));
      expect(await logits(recorded, frames)).toEqual(await logits(plain, frames));
      if (pass === 4) recorded.releaseRecordings(); // the first time again
    }
    await synchronize();
    setProfiling(false);
    const replays = takeProfile().find(({ op }) => op === 'replay')?.calls ?? 0;
    expect(replays).toBe(onCuda ? 2 * 4 : 0);
  },
);
