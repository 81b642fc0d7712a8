import { checkKnownOptions } from '../base/check';
import { CodedError } from '../base/error';
import { native } from '../native/load';
import { unaryOutput } from '../tensor/autograd';
import { checkOptionalTensor, checkTensor } from '../tensor/check';
import type { Tensor } from '../tensor/tensor';
import { multiplicand, parameterGradients } from './master_weight';
import { withTemporaries } from './temporaries';

/** Weight [out, in] and float32 bias [out] of a linear layer; an `nn.Linear` is one. */
export interface LinearParameters {
  weight: Tensor;
  bias?: Tensor | null;
}

/**
 * Two linear layers with QuickGELU between them: `linear(linear(x, expand, quick_gelu), contract) + residual`, as one
 * operation. It keeps the activation and its slope, and the backward pass multiplies by the slope in the product that
 * makes the gradient.
 *
 * As in {@link linear}, float32 weights of a bfloat16 x are master weights.
 *
 * @param x float32 or bfloat16 [..., in]
 * @param expand weight [hidden, in], bias [hidden]
 * @param contract weight [out, hidden], bias [out]
 * @param options.residual added last: [..., out] in the dtype of x
 * @returns [..., out] in the dtype of x
 * @throws ERR_SHAPE, ERR_DTYPE
 *
 * @example
 * const layers = [{ weight: ones([8, 2]) }, { weight: ones([2, 8]) }] as const;
 * const y = mlp(tensor([[1, 2]]), ...layers); // [[23.85, 23.85]]
 */
export function mlp(
  x: Tensor,
  expand: LinearParameters,
  contract: LinearParameters,
  options: { residual?: Tensor | null } = {},
): Tensor {
  checkTensor('mlp', 'x', x);
  checkParameters('expand', expand);
  checkParameters('contract', contract);
  checkKnownOptions('mlp', options, { residual: true });
  const { residual = null } = options;
  checkOptionalTensor('mlp', 'residual', residual);
  const [expandFactor, contractFactor] = [multiplicand(x, expand.weight), multiplicand(x, contract.weight)];
  return unaryOutput(
    'mlp',
    [x, expand.weight, expand.bias, contract.weight, contract.bias, residual],
    ({ needs: [byX, byExpand, byExpandBias, byContract], save }) =>
      withTemporaries((temporary) => {
        const { linearForward, retain } = native();
        const throughActivation = Boolean(byX || byExpand || byExpandBias);
        const [hidden, slope] = linearForward(
          x.handle,
          expandFactor.handle,
          expand.bias?.handle ?? null,
          null,
          'quick_gelu',
          throughActivation,
        );
        for (const handle of [hidden, slope]) if (handle) temporary(handle);
        const [y] = linearForward(
          hidden,
          contractFactor.handle,
          contract.bias?.handle ?? null,
          residual?.handle ?? null,
          'none',
          false,
        );
        save(
          byExpand ? x.handle : null,
          byX ? expandFactor.handle : null,
          throughActivation ? contractFactor.handle : null,
          byContract ? retain(hidden) : null,
          slope ? retain(slope) : null,
        );
        return y;
      }),
    ([dy], [savedX, expandWeight, contractWeight, hidden, slope], { needs, into }) =>
      withTemporaries((temporary) => {
        const wanted = (i: number) => ({ needed: needs[i]!, into: into(i) });
        const contracted = parameterGradients(
          dy!,
          hidden!,
          { ...wanted(3), dtype: contract.weight.dtype },
          wanted(4),
        );
        const dresidual = needs[5] ? native().retain(dy!) : null;
        if (!(needs[0] || needs[1] || needs[2])) return [null, null, null, ...contracted, dresidual];
        // The gradient before the activation.
        const du = temporary(native().linearBackwardInput(dy!, contractWeight!, slope!));
        const expanded = parameterGradients(
          du,
          savedX!,
          { ...wanted(1), dtype: expand.weight.dtype },
          wanted(2),
        );
        const dx = needs[0] ? native().linearBackwardInput(du, expandWeight!, null) : null;
        return [dx, ...expanded, ...contracted, dresidual];
      }),
  );
}

function checkParameters(which: string, layer: LinearParameters): void {
  if (typeof layer !== 'object' || layer === null)
    throw new CodedError(
      'ERR_ARGUMENT',
      `mlp: ${which} must be a layer { weight, bias }, got ${String(layer)}`,
    );
  checkTensor('mlp', `${which}.weight`, layer.weight);
  checkOptionalTensor('mlp', `${which}.bias`, layer.bias);
}
