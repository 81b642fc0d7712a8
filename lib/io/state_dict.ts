import { PyObject, type PyValue } from './pickle_value';
import { RawTensor } from './raw_tensor';

/** Keys under which training code keeps the weights; '' stands for the value itself. */
const CONTAINERS = ['model', 'state_dict', 'model_state_dict', ''];
const MAX_KEYS = 1_000_000;
const MAX_DEPTH = 100;

/**
 * The weights in a checkpoint value: the dict of tensors under `model`, `state_dict` or `model_state_dict`, or the value
 * itself when it is one. Undefined when there is none.
 */
export function findStateDict(value: PyValue): Map<string, RawTensor> | undefined {
  if (!(value instanceof Map)) return undefined;
  for (const key of CONTAINERS) {
    const candidate: unknown = key === '' ? value : value.get(key);
    if (isStateDict(candidate)) return candidate;
  }
  return undefined;
}

/**
 * The tensors of a TorchScript module by path: `visual` with attribute `proj` gives `visual.proj`. A module's own come
 * before those of its submodules, as in a state dict. Undefined when `value` is no module or its tree is absurd.
 */
export function moduleStateDict(value: PyValue): Map<string, RawTensor> | undefined {
  const tensors = new Map<string, RawTensor>();
  let visits = 0;
  const walk = (module: PyObject, prefix: string, depth: number): boolean => {
    // A module that is shared is visited once per path, and there can be astronomically many paths.
    if (depth > MAX_DEPTH || ++visits > MAX_KEYS) return false;
    const attributes = module.state instanceof Map ? [...module.state] : [];
    for (const [name, item] of attributes)
      if (item instanceof RawTensor) tensors.set(`${prefix}${name}`, item);
    return attributes.every(([name, item]) => !isModule(item) || walk(item, `${prefix}${name}.`, depth + 1));
  };
  return isModule(value) && walk(value, '', 0) ? tensors : undefined;
}

function isModule(value: PyValue): value is PyObject {
  return value instanceof PyObject && value.className.startsWith('__torch__.');
}

function isStateDict(value: PyValue): value is Map<string, RawTensor> {
  if (!(value instanceof Map) || value.size === 0) return false;
  return [...value].every(([key, item]) => typeof key === 'string' && item instanceof RawTensor);
}
