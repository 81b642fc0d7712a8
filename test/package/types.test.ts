import { execFile } from 'node:child_process';
import { existsSync, symlinkSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { promisify } from 'node:util';
import { type PackedProject, packInto, root } from '../support/packed';

let project: PackedProject;
beforeAll(() => {
  project = packInto('types-');
});
afterAll(() => project?.remove());

const consumer = `import { hasCode, nn, optim, type Tensor, tensor, XCLIP } from 'xclip-native';
import { VideoReader } from 'xclip-native/video';

export async function nameClip(path: string): Promise<string> {
  const model = await XCLIP.load('k400_32_8.pth', { device: 'auto', dtype: 'float32' });
  const [best] = await model.classify(path, ['abseiling', 'zumba'], { topK: 1 });
  return best!.label;
}
export async function countFrames(path: string): Promise<number> {
  return (await VideoReader.open(path)).info.frameCount;
}
export const reasonOf = (error: unknown): unknown =>
  hasCode(error, 'ERR_ABORTED') ? error.cause : hasCode(error, 'ERR_FILE_NOT_FOUND') ? error.message : undefined;
export const x: Tensor = tensor([[1, 2]]);
export class Net extends nn.Module {
  readonly hidden = new nn.Linear(2, 16, new nn.Initializer({ seed: 1 }));
}
export const rate: number = new optim.AdamW([{ params: new Net().namedParameters(), lr: 0.1 }]).groups[0]!.lr;
// @ts-expect-error a tensor is not made from a date: types are there, and are not any
tensor(new Date());
`;

// `node10` is the default of `module: commonjs`; it does not know "exports". `.mts` is an ES module whatever the project is.
test.each([
  ['node10', 'commonjs', ['ts']],
  ['node16', 'node16', ['ts', 'mts', 'cts']],
  ['nodenext', 'nodenext', ['ts', 'mts', 'cts']],
  ['bundler', 'esnext', ['ts', 'mts']],
])('types resolve with moduleResolution %s', async (resolution, module, endings) => {
  const types = join(project.folder, 'node_modules/@types');
  if (!existsSync(types)) symlinkSync(join(root, 'node_modules/@types'), types);
  const config = join(project.folder, `tsconfig.${resolution}.json`);
  const compilerOptions = {
    ...{
      strict: true,
      noEmit: true,
      skipLibCheck: false,
      target: 'es2022',
      lib: ['es2022'],
      types: ['node'],
    },
    ...{ module, moduleResolution: resolution },
  };
  const sources = endings.map((ending) => `consumer.${ending}`);
  for (const file of sources) writeFileSync(join(project.folder, file), consumer);
  writeFileSync(config, JSON.stringify({ compilerOptions, files: sources }));
  const tsc = join(root, 'node_modules/typescript/bin/tsc');
  const compile = promisify(execFile)(process.execPath, [tsc, '-p', config], { cwd: dirname(config) });
  expect(await compile.catch((error: { stdout: string }) => error)).toMatchObject({ stdout: '' });
});
