import { checkArray, wrongKind } from '../../base/check';
import { CodedError } from '../../base/error';
import type { Mode } from '../../nn/module';
import { reshape } from '../../ops';
import { adopt, keep, scope } from '../../tensor/scope';
import type { Tensor } from '../../tensor/tensor';
import { encodeText, type TextInput } from '../clip/text';
import { inDtype } from '../dtype';
import type { XCLIP } from './xclip';

/** What a forward pass computes on its way, by name: {@link XCLIP.outputs}. All but float32 ones are in the compute dtype. */
export interface XclipOutputs {
  /** The tokens of each frame, class token first, before the first block and after each: [B T, 1 + N, D]. */
  hiddenStates: Tensor[];
  /** What each frame shows, before the frames are looked at together, [B, T, E]. */
  frameFeatures: Tensor;
  /** What the video shows, [B, E], not normalised. */
  videoFeatures: Tensor;
  /** Patch features averaged over frames, which the texts look at, [B, N, E]. */
  patchFeatures: Tensor;
  /** The tokens of each text up to the end of the longest, before the first block and after each: [K, L, D]. */
  textHiddenStates: Tensor[];
  /** The texts alone, float32 [K, E], not normalised. */
  textFeatures: Tensor;
  /** What each video adds to each text, float32 [B, K, E]. */
  prompts: Tensor;
  /** The videos as they are compared: of unit length, float32 [B, E]. */
  videoEmbeddings: Tensor;
  /** The texts as they are compared: prompted by each video, of unit length, float32 [B, K, E]. */
  textEmbeddings: Tensor;
  /** What `forward` returns, float32 [B, K]. */
  logits: Tensor;
}

/** The name under which the model shows a tensor that is one of the outputs. */
const shown: Readonly<Record<string, keyof XclipOutputs>> = {
  'vision.ln_pre': 'hiddenStates',
  'text.embedding': 'textHiddenStates',
  'vision.cls': 'frameFeatures',
  'mit.out': 'videoFeatures',
  'prompts.img_features_mean': 'patchFeatures',
  'prompts.out': 'prompts',
  'final.video': 'videoEmbeddings',
  'final.text': 'textEmbeddings',
};
const ofVideo: readonly string[] = ['hiddenStates', 'frameFeatures', 'videoFeatures', 'patchFeatures'];
const ofTexts: readonly string[] = [
  'textHiddenStates',
  'textFeatures',
  'prompts',
  'videoEmbeddings',
  'textEmbeddings',
  'logits',
];
const lists: readonly string[] = ['hiddenStates', 'textHiddenStates'];

/** XCLIP.outputs. */
export function outputsOf<Name extends keyof XclipOutputs>(
  model: XCLIP,
  frames: Tensor,
  tokens: TextInput | null,
  names: readonly Name[],
  mode: Mode,
): Pick<XclipOutputs, Name> {
  checkArray('outputs', 'names', names);
  const known = [...ofVideo, ...ofTexts];
  for (const [i, name] of names.entries())
    if (!known.includes(name)) throw wrongKind('outputs', `names[${i}]`, `one of ${known.join(', ')}`, name);
  const needsTexts = names.find((name) => ofTexts.includes(name));
  if (needsTexts !== undefined && tokens === null)
    throw new CodedError('ERR_ARGUMENT', `outputs: ${needsTexts} depends on texts: give their tokens`);
  const wanted = new Set<string>(names);
  const found: Partial<Record<string, Tensor | Tensor[]>> = {};
  for (const name of lists) if (wanted.has(name)) found[name] = [];
  const taken: Tensor[] = [];
  let over = false; // what is computed again in a backward pass is shown again
  const trace = (name: string, value: Tensor) => {
    mode.trace?.(name, value);
    const block = /^(vision|text)\.block\d+\.out$/.exec(name)?.[1];
    const output = block === undefined ? shown[name] : block === 'text' ? 'textHiddenStates' : 'hiddenStates';
    if (over || output === undefined || !wanted.has(output)) return;
    // Shown tensors go with their scopes; a reshaped one shares its elements and its history.
    const own = keep(reshape(value, value.shape));
    taken.push(own);
    const list = found[output];
    if (Array.isArray(list)) list.push(own);
    else found[output] = own;
  };
  try {
    return scope(() => {
      const features = model.encodeVideo(frames, { ...mode, trace });
      if (needsTexts !== undefined) {
        const text = wanted.has('textHiddenStates')
          ? inDtype(encodeText(model, tokens!, model.computeDtype, { ...mode, trace }, true), 'float32')
          : model.encodeText(tokens!, mode);
        if (wanted.has('textFeatures')) found.textFeatures = text;
        const logits = model.score(features, text, { ...mode, trace });
        if (wanted.has('logits')) found.logits = logits;
      }
      for (const own of taken.splice(0)) adopt(own);
      return found as Pick<XclipOutputs, Name>;
    });
  } catch (error) {
    for (const own of taken) own.dispose();
    throw error;
  } finally {
    over = true;
  }
}
