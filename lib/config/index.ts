export type { ConfigFlags } from './load';
export { configToYaml, loadConfig } from './load';
export type { Config } from './schema';
export { ARCHITECTURES } from './schema';
