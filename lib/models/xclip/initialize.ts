import {
  constant,
  type Distribution,
  fanInUniform,
  initialize,
  normal,
  ones,
  uniform,
  xavierUniform,
  zeros,
} from '../../nn/init';
import type { Geometry } from './geometry';
import type { XCLIP } from './xclip';

/**
 * `finetune`: values of the reference, which start training from image-text weights; the parts that those lack keep
 * them. `scratch`: values with which a small model learns from nothing: wide weights, and positions that can be told
 * apart.
 */
export type InitialValues = 'finetune' | 'scratch';

type Rule = [name: RegExp, distribution: Distribution];

/** Gives every parameter its initial value; each has its own stream of the seed. */
export function initializeXclip(model: XCLIP, values: InitialValues, seed: number): void {
  const rules = values === 'scratch' ? scratch(model.geometry) : finetune(model.geometry);
  let stream = 0;
  for (const [name, parameter] of model.namedParameters()) {
    const [, distribution] = rules.find(([pattern]) => pattern.test(name))!;
    initialize(parameter, distribution, { seed, stream: stream++ });
  }
}

/** The first rule that fits a name counts. */
function finetune(geometry: Geometry): Rule[] {
  const { textWidth, textLayers, visionWidth, promptAlpha } = geometry;
  const textOutput = textWidth ** -0.5 * (2 * textLayers) ** -0.5;
  return [
    [/^prompts_generator\.alpha$/, constant(promptAlpha)],
    ...common,
    [/^mit\.positional_embedding$/, normal(0.02)],
    [/^mit\..*in_proj_weight$/, xavierUniform],
    [/^(mit|prompts_generator)\..*bias$/, zeros],
    [/^(mit|prompts_generator)\./, normal(0.02)],
    [/^prompts_visual_proj$/, normal(1)],
    [/^visual\.(class_embedding|positional_embedding|proj)$/, normal(visionWidth ** -0.5)],
    [/^positional_embedding$/, normal(0.01)],
    [/^token_embedding/, normal(0.02)],
    [/^text_projection$/, normal(textWidth ** -0.5)],
    [/^transformer\..*in_proj_weight$/, normal(textWidth ** -0.5)],
    [/^transformer\..*(out_proj|c_proj)\.weight$/, normal(textOutput)],
    [/^transformer\..*c_fc\.weight$/, normal((2 * textWidth) ** -0.5)],
    // What is left is initialised as linear layers and convolutions usually are.
    [/(in_proj_bias|out_proj\.bias)$/, zeros],
    [/in_proj_weight$/, xavierUniform],
    [/c_fc\.bias$/, fanInBias(1 / 4)],
    [/c_proj\.bias$/, fanInBias(4)],
    [/bias$/, fanInBias(1)],
    [/weight$/, fanInUniform],
  ];
}

function scratch({ promptAlpha }: Geometry): Rule[] {
  return [
    [/^prompts_generator\.alpha$/, constant(promptAlpha)],
    ...common,
    [/^visual\.(positional|class)_embedding$/, normal(0.7)],
    [/^mit\.positional_embedding$/, normal(0.4)],
    // Words must be far apart from the start: the text tower learns slowly beside the video side.
    [/^token_embedding/, normal(0.3)],
    [/bias$/, zeros],
    [/./, normal(0.06)],
  ];
}

const common: Rule[] = [
  [/^logit_scale$/, constant(Math.log(1 / 0.07))],
  [/(ln|norm)[^.]*\.weight$/, ones],
  [/(ln|norm)[^.]*\.bias$/, zeros],
];

/** Bias of a linear layer whose inputs are `factor` times as many as its outputs. */
function fanInBias(factor: number): Distribution {
  return (shape, draw) => uniform(1 / Math.sqrt(factor * shape[0]!))(shape, draw);
}
