export type { ParameterGroup, Targets, Task, TaskOptions } from './task';
