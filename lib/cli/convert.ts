import { extname } from 'node:path';
import type { Command } from 'commander';
import { CodedError } from '../base/error';
import { float32ToBfloat16, float32ToHalf, RawTensor, writeSafetensors, writeTorch } from '../io';
import { openWeights } from '../models/xclip/weights';
import { requireOther } from './arguments';
import { interruptible } from './interrupt';
import { print } from './terminal';

type WeightDtype = 'float32' | 'float16' | 'bfloat16';

interface ConvertFlags {
  dtype?: WeightDtype;
}

const examples = `
Examples:
  $ xclip-native convert k400_32_8.pth k400_32_8.safetensors
  $ xclip-native convert huggingface-folder weights.pth --dtype float16

The ending of the output chooses the format: .safetensors, or .pth as torch.load reads it. Only weights are kept, under
the official names; optimizer state and the like are left out.`;

/** Adds `convert`: weights from any format that is read into one that is written. */
export function addConvert(program: Command): void {
  program
    .command('convert')
    .description('write the weights of a checkpoint in another format')
    .argument('<input>', 'checkpoint: .pth, safetensors, or a Hugging Face folder')
    .argument('<output>', 'file to write, .pth or .safetensors')
    .addOption(
      program
        .createOption('--dtype <type>', 'type of the weights (default: as they are)')
        .choices(['float32', 'float16', 'bfloat16']),
    )
    .addHelpText('after', examples)
    .action(convert);
}

async function convert(input: string, output: string, { dtype }: ConvertFlags): Promise<void> {
  const ending = extname(output).toLowerCase();
  if (ending !== '.pth' && ending !== '.safetensors') {
    throw new CodedError(
      'ERR_USAGE',
      `${output}: the ending must be .pth or .safetensors, which choose the format`,
    );
  }
  requireOther(input, output);
  await interruptible('stopping', async (signal) => {
    const weights = await openWeights(input);
    try {
      const tensors = new Map<string, RawTensor>();
      for (const [name, tensor] of weights.state)
        tensors.set(name, dtype ? converted(tensor, dtype) : tensor);
      if (ending === '.pth') await writeTorch(output, { model: tensors }, { signal });
      else await writeSafetensors(output, tensors, new Map([['format', 'pt']]), { signal });
      print(`${output}: ${tensors.size} tensors`);
    } finally {
      await weights.close();
    }
  });
}

/** The tensor in another dtype; its elements are fetched and converted when they are written. */
function converted(tensor: RawTensor, dtype: WeightDtype): RawTensor {
  const convert = { float32: (x: Float32Array) => x, float16: float32ToHalf, bfloat16: float32ToBfloat16 }[
    dtype
  ];
  return new RawTensor(dtype, tensor.shape, async () => {
    const { buffer, byteOffset, byteLength } = convert(await tensor.float32());
    return new Uint8Array(buffer, byteOffset, byteLength);
  });
}
