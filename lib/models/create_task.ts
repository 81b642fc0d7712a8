import { checkKnownOptions, checkTexts } from '../base/check';
import type { Config } from '../config/schema';
import { type Task, type TaskOptions, taskKeys } from './task';
import { createXclipTask } from './xclip/recipe';
import { checkConfig } from './zoo';

/**
 * The task that a configuration asks for; the engine knows no other way to a model.
 *
 * @param classNames names in the order of the class numbers
 * @throws ERR_LABELS, ERR_CONFIG_VALUE, ERR_DEVICE, and what loading MODEL.PRETRAINED throws
 *
 * @example
 * const task = await createTask(config, readLabels(config.DATA.LABEL_LIST));
 */
export async function createTask(
  config: Config,
  classNames: readonly string[],
  options: TaskOptions = {},
): Promise<Task> {
  checkConfig('createTask', config);
  checkTexts('createTask', 'classNames', classNames);
  checkKnownOptions('createTask', options, taskKeys);
  return createXclipTask(config, classNames, options);
}
