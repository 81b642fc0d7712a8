export { type Specification, type SyntheticClass, syntheticClasses } from './classes';
export { drawVideo } from './draw';
export { type SyntheticDataset, type SyntheticOptions, writeSyntheticDataset } from './write';
