import { CodedError } from '../../lib/base/error';
import { ones } from '../../lib/ops';
import type { Tensor } from '../../lib/tensor/tensor';

/** One wrong value of an argument and the codes that may be thrown for it. */
export interface Wrong {
  what: string;
  value: () => unknown;
  code: RegExp;
}

/** A function of the library with arguments that it takes, and for each of them, by place, what it refuses. */
export interface Subject {
  call: (...words: never[]) => unknown;
  good: () => unknown[];
  wrong: readonly (readonly Wrong[])[];
}

const argument = /^ERR_ARGUMENT$/;
const size = /^ERR_(ARGUMENT|SHAPE|OUT_OF_MEMORY)$/;

const wrongly = (code: RegExp, values: Record<string, () => unknown>): Wrong[] =>
  Object.entries(values).map(([what, value]) => ({ what, value, code }));

/** What is no tensor at all. */
const noTensor: Wrong[] = wrongly(argument, {
  null: () => null,
  'a number': () => 3,
  'a text': () => 'x',
  'an object': () => ({ shape: [2, 4], dtype: 'float32', device: 'cpu', rank: 2 }),
  'an array': () => [1, 2],
});
const missing: Wrong[] = wrongly(argument, { undefined: () => undefined });
const disposed: Wrong[] = wrongly(/^ERR_DISPOSED$/, {
  'a disposed tensor': () => {
    const x = ones([2, 4]);
    x.dispose();
    return x;
  },
});

/** Refused where a tensor belongs; `fits` are tensors of a wrong shape or dtype. */
export function tensorArgument(fits: { shape?: () => Tensor; dtype?: () => Tensor } = {}): Wrong[] {
  return [...missing, ...optionalTensor(fits).filter(({ what }) => what !== 'nothing')];
}

/** As {@link tensorArgument}, where null and undefined stand for none. */
export function optionalTensor(fits: { shape?: () => Tensor; dtype?: () => Tensor } = {}): Wrong[] {
  const { shape, dtype } = fits;
  return [
    ...noTensor.filter(({ what }) => what !== 'null'),
    ...disposed,
    ...(shape ? wrongly(/^ERR_SHAPE$/, { 'a tensor of another shape': shape }) : []),
    ...(dtype ? wrongly(/^ERR_(DTYPE|SHAPE)$/, { 'a tensor of another dtype': dtype }) : []),
  ];
}

/** Refused where a list of tensors belongs. */
export function listArgument(): Wrong[] {
  return [
    ...wrongly(argument, {
      undefined: () => undefined,
      'a number': () => 3,
      'a tensor': () => ones([2, 4]),
      'a list of numbers': () => [1, 2],
      'a list with a gap': () => [ones([2, 4]), undefined],
    }),
    ...wrongly(/^ERR_DISPOSED$/, { 'a list with a disposed tensor': () => [disposed[0]!.value()] }),
  ];
}

/** Refused where a number belongs; `also` says which numbers. */
export function numberArgument(...also: number[]): Wrong[] {
  return [
    ...wrongly(argument, {
      null: () => null,
      'a text': () => 'x',
      'an object': () => ({}),
      NaN: () => Number.NaN,
    }),
    ...also.map((value): Wrong => ({ what: String(value), value: () => value, code: size })),
  ];
}

/** Refused where an array of sizes or axes belongs. */
export function shapeArgument(...also: (readonly unknown[])[]): Wrong[] {
  return [
    ...wrongly(argument, { null: () => null, 'a text': () => 'x' }),
    ...wrongly(size, {
      'an array of texts': () => ['x'],
      'a shape of NaN': () => [Number.NaN],
      'half a row': () => [1.5],
    }),
    ...also.map((value): Wrong => ({ what: `[${value}]`, value: () => value, code: size })),
  ];
}

/** Refused where an options object belongs: each of these instead of the good one. */
export function optionArgument(
  options: Record<string, readonly Wrong[]>,
  good: () => object = () => ({}),
): Wrong[] {
  return [
    ...wrongly(argument, { null: () => null, 'a number': () => 3, 'a text': () => 'x' }),
    ...Object.entries(options).flatMap(([name, wrong]) =>
      wrong.map(({ what, value, code }) => ({
        what: `${name}: ${what}`,
        value: () => ({ ...good(), [name]: value() }),
        code,
      })),
    ),
  ];
}

/** Refused where one of a few words belongs. */
export const wordArgument = (code = argument): Wrong[] =>
  wrongly(code, { 'another word': () => 'elsewhere', 'a number': () => 3 });

/** Refused where a function belongs. */
export const bodyArgument: readonly Wrong[] = wrongly(argument, {
  undefined: () => undefined,
  'a number': () => 3,
});

/**
 * Calls a function with its good arguments, which must work, and with each wrong one in their midst: it must throw or reject
 * with a coded error that begins with a name.
 *
 * @returns what went otherwise
 */
export async function faultsOf({ call, good, wrong }: Subject, names: RegExp): Promise<string[]> {
  const run = call as (...words: unknown[]) => unknown;
  await run(...good());
  const faults: string[] = [];
  for (const [place, list] of wrong.entries()) {
    for (const { what, value, code } of list) {
      const words = good();
      words[place] = value();
      const error = await refusal(() => run(...words));
      const coded = error instanceof CodedError && code.test(error.code) && names.test(error.message);
      if (!coded) faults.push(`argument ${place}, ${what}: ${error}`);
    }
  }
  return faults;
}

async function refusal(call: () => unknown): Promise<unknown> {
  try {
    await call();
    return 'nothing was refused';
  } catch (error) {
    return error instanceof CodedError
      ? Object.assign(error, { toString: () => `${error.code} ${error.message}` })
      : error;
  }
}
