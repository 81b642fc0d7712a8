import { keep } from '../../tensor/scope';
import { Tensor } from '../../tensor/tensor';
import type { TextInput } from './text';

interface Entry {
  tokens: TextInput;
  /** A copy of the ids, or the version of the tensor that holds them. */
  contents: Int32Array | number;
  parameters: readonly Tensor[];
  versions: readonly number[];
  features: Tensor;
}

/**
 * The features of the last texts. An entry is used only for the very same token ids and parameter values, so it is
 * never stale.
 */
export class TextCache {
  private entry: Entry | null = null;

  /** A handle of the caller's own on the features of `tokens`, computed by `compute` when they are not those kept. */
  get(tokens: TextInput, parameters: readonly Tensor[], compute: () => Tensor): Tensor {
    if (!this.entry || !isCurrent(this.entry, tokens, parameters)) {
      this.clear();
      const features = keep(compute());
      const contents = tokens instanceof Tensor ? tokens.version : Int32Array.from(tokens.ids);
      this.entry = {
        tokens,
        contents,
        parameters,
        versions: parameters.map((parameter) => parameter.version),
        features,
      };
    }
    return this.entry.features.detach();
  }

  clear(): void {
    this.entry?.features.dispose();
    this.entry = null;
  }
}

function isCurrent(entry: Entry, tokens: TextInput, parameters: readonly Tensor[]): boolean {
  return (
    sameTokens(entry, tokens) &&
    parameters.length === entry.parameters.length &&
    parameters.every((p, i) => p === entry.parameters[i] && p.version === entry.versions[i])
  );
}

function sameTokens({ tokens: kept, contents }: Entry, tokens: TextInput): boolean {
  if (tokens instanceof Tensor) return tokens === kept && tokens.version === contents;
  if (typeof contents === 'number' || String(tokens.shape) !== String(kept.shape)) return false;
  return contents.length === tokens.ids.length && contents.every((id, i) => id === tokens.ids[i]);
}
