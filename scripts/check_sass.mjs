// Reads the machine code of the kernels that cuda/build.cmake compiled and fails where it is not what the sources count
// on: local memory; a vector stored in parts; global memory touched before the wait for the grid in front; warpgroup
// products that are not issued as one group, or have something between them other than addresses and scalars of their own; a product, copy or store
// of another kind than planned. Prints what it counted. Needs cuobjdump and nvdisasm, of the CUDA toolkit or of a Python package that ships them.
//
//   node scripts/check_sass.mjs [--loops] [folder of objects, default build/cuda; build/gpu has those of tests too]
//
// --loops also prints what the innermost loops around tensor-core products take, by which times are predicted.
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readdirSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, dirname, join, relative, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';

const args = process.argv.slice(2);
const showLoops = args.includes('--loops');
const folder = resolve(
  args.find((arg) => !arg.startsWith('--')) ?? join(dirname(fileURLToPath(import.meta.url)), '../build/cuda'),
);

/** What kernels must have, by architecture, source file and name: instructions, with the modifiers that matter. */
const planned = {
  sm_90a: [
    [
      /gemm_sm90_/,
      ['HGMMA', 'UTMALDG.3D', 'UTMALDG.3D.MULTICAST', 'UTMASTG.3D', 'SYNCS', 'WARPGROUP.DEPBAR.LE'],
    ],
    [/gemm_sm90_/, ['USETMAXREG.DEALLOC', 'USETMAXREG.TRY_ALLOC', 'FENCE.VIEW.ASYNC.S', 'UTMACMDFLUSH']],
    [/gemm_sm90_weight/, ['UTMAREDG.3D.ADD']],
    [/gemm_sm90_(forward|input|transposed)/, ['STSM']],
    [/attention_sm90_/, ['HGMMA.64x64x16', 'HGMMA.64x16x16', 'UTMALDG.3D', 'SYNCS', 'WARPGROUP.DEPBAR.LE']],
    [/attention_sm90_/, ['LDSM.16.M88.4', 'STG.E.128']],
  ],
  sm_80: [
    [/gemm_sm80_tf32/, ['HMMA.1688.F32.TF32', 'LDGSTS.E.BYPASS']],
    [/gemm_sm80_(bf|f)loat16/, ['HMMA.16816.F32', 'LDSM.16.M', 'LDGSTS.E.BYPASS']],
    [
      /attention_tensor_core\S* \S*attention_(for|back)ward_kernel/,
      ['HMMA.16816.F32', 'LDSM.16.M88.4', 'LDSM.16.MT88.4'],
    ],
  ],
};
const touchesMemory = /^(LDG|STG|LD\.|ST\.|ATOM|RED\b|RED\.|LDGSTS|UTMALDG|UTMASTG|UTMAREDG)/;
const addressing = /^(NOP|R2UR|S2UR|UMOV|ULOP3|UIADD3|USHF|ULEA|USEL|UIMAD|WARPSYNC)/;

// Integer arithmetic and marks of branches to come, which the compiler moves there: it must not name a register of the group.
const scalar = /^(MOV|IMAD|CS2R|U?ISETP|LOP3|IADD3|VIADD|SHF|SEL|ULDC|BSSY)/;

const instruction = /\/\*[0-9a-f]{4,}\*\/\s+(?:@!?U?P\w+\s+)?([A-Z][\w.]*)([^;\n]*)/;

function run(tool, args, cwd) {
  const { status, stdout, error } = spawnSync(tool, args, { cwd, encoding: 'utf8', maxBuffer: 1 << 28 });
  if (error?.code === 'ENOENT') throw new Error(`${tool} is not on PATH`);
  if (status !== 0) throw new Error(`${tool} ${args.join(' ')} failed with status ${status}`);
  return stdout;
}

function* objects(path) {
  for (const name of readdirSync(path)) {
    const entry = join(path, name);
    if (statSync(entry).isDirectory()) yield* objects(entry);
    else if (name.endsWith('.cu.o')) yield entry;
  }
}

/**
 * The innermost loops of a kernel that hold tensor-core products: how many instructions lie in each, of all kinds
 * (`instructions`) and by mnemonic without modifiers. Code that is jumped over counts.
 */
export function productLoops(section) {
  const code = [];
  const labels = new Map();
  const found = [];
  for (const line of section.split('\n')) {
    const label = /^(\.L_\w+):/.exec(line)?.[1];
    if (label) labels.set(label, code.length);
    const [, mnemonic, operands] = instruction.exec(line) ?? [];
    if (!mnemonic) continue;
    code.push(mnemonic.split('.')[0]);
    const begin = labels.get(/`\((\.L_\w+)\)/.exec(operands)?.[1]);
    if (mnemonic.startsWith('BRA') && begin !== undefined) found.push([begin, code.length]);
  }
  const loops = found.filter(([begin, end]) => code.slice(begin, end).some((one) => /^HG?MMA$/.test(one)));
  const inside = (a, b) => a !== b && a[0] >= b[0] && a[1] <= b[1];
  return loops
    .filter((loop) => !loops.some((other) => inside(other, loop)))
    .map(([begin, end]) => {
      const counts = { instructions: end - begin };
      for (const one of code.slice(begin, end)) counts[one] = (counts[one] ?? 0) + 1;
      return counts;
    });
}

/** Kernels with their instructions, predicates taken off: `{name, code: [[mnemonic, operands]], loops}`. */
export function kernels(sass) {
  return sass
    .split('\n.text.')
    .slice(1)
    .map((section) => ({
      name: section.slice(0, section.indexOf(':')),
      code: [...section.matchAll(new RegExp(instruction, 'g'))].map(([, mnemonic, operands]) => [
        mnemonic,
        operands,
      ]),
      loops: productLoops(section),
    }))
    .filter(({ code }) => code.some(([mnemonic]) => !/^(NOP|EXIT|BRA|LDC|MOV)/.test(mnemonic)));
}

/**
 * Vectors of 16 bytes in global memory that one thread stores in parts: stores of 32 or 64 bits, near one another, to
 * neighbouring places behind one register.
 */
function splitStores(code) {
  const near = 16; // instructions
  let found = 0;
  const open = new Map();
  for (const [i, [mnemonic, operands]] of code.entries()) {
    const bytes = /^STG\.E(\.64)?(?=$|\.(?!U8|S8|U16|S16|128))/.exec(mnemonic);
    const [, base, sign, offset = '0'] =
      /\[(R\d+)\.(?:64|U32)(?:\+UR\d+)?(?:\+(-?)0x([0-9a-f]+))?\]/.exec(operands) ?? [];
    if (!bytes || !base) continue;
    const width = bytes[1] ? 8 : 4;
    const at = Number.parseInt(offset, 16) * (sign ? -1 : 1);
    const key = `${base} ${width} ${Math.floor(at / 16)}`;
    const parts = (open.get(key) ?? []).filter((part) => i - part.i <= near && part.at !== at);
    parts.push({ i, at });
    open.set(key, parts);
    if (parts.length * width === 16) {
      found += 1;
      open.delete(key);
    }
  }
  return found;
}

/** The registers of a product's sums and, where it is in registers, of its left operand. */
function registersOf(mnemonic, operands) {
  const columns = Number(/^HGMMA\.64x(\d+)x/.exec(mnemonic)[1]);
  const [sums, left] = operands.split(',').map((operand) => /^\s*R(\d+)/.exec(operand)?.[1]);
  const range = (first, count) => Array.from({ length: count }, (_, i) => Number(first) + i);
  return [...range(sums, columns / 2), ...(left === undefined ? [] : range(left, 4))];
}
/** Whether an instruction names one of the registers; some write two. */
function names(registers, mnemonic, operands) {
  const named = [...operands.matchAll(/\bR(\d+)/g)].map(([, number]) => Number(number));
  return named.some(
    (number) => registers.has(number) || (/^CS2R|WIDE/.test(mnemonic) && registers.has(number + 1)),
  );
}

/** What is wrong with one kernel. */
export function problems({ name, code }, architecture, source) {
  const found = [];
  const has = (start) => code.some(([mnemonic]) => mnemonic.startsWith(start));
  if (has('LDL') || has('STL')) found.push('uses local memory');
  // Kernels of tests start alone (LaunchShape::overlap is false), so they wait for none, and store a handful of numbers.
  const tests = source.startsWith('test/');
  // A kernel that stores whole vectors may store their tails element by element, and rows that may begin anywhere are
  // stored so by plan.
  const byPlan = tests || has('STG.E.128') || /^attention_scalar_/.test(basename(source));
  const split = byPlan ? 0 : splitStores(code);
  if (split > 0) found.push(`stores ${split} vectors in parts and none whole`);
  for (const [which, instructions] of planned[architecture] ?? []) {
    if (!which.test(`${source} ${name}`)) continue;
    for (const instruction of instructions) if (!has(instruction)) found.push(`has no ${instruction}`);
  }
  if (architecture !== 'sm_90a') return found;
  const wait = code.findIndex(([mnemonic]) => mnemonic === 'ACQBULK');
  const first = code.findIndex(([mnemonic]) => touchesMemory.test(mnemonic));
  if (wait < 0 && !tests) found.push('does not wait for the grid in front');
  else if (wait >= 0 && first >= 0 && first < wait)
    found.push(`has ${code[first][0]} before it waits for the grid in front`);
  // The grid in front may have written it while this kernel was running already.
  if (!tests && code.some(([mnemonic]) => /^LDG.*\.CONSTANT/.test(mnemonic)))
    found.push('takes memory that it reads for constant');
  // From one product to the last of its group, which alone signals the scoreboard. Instructions between two products may
  // be of use to later ones of the group, so all of its registers count.
  let open = false;
  let between = [];
  const registers = new Set();
  for (const [mnemonic, operands] of code) {
    if (mnemonic.startsWith('HGMMA')) {
      for (const register of registersOf(mnemonic, operands)) registers.add(register);
      open = !operands.includes('gsb0');
      if (open) continue;
      for (const [other, its] of between) {
        if (!scalar.test(other) || names(registers, other, its))
          found.push(`has ${other} between products of a group`);
      }
      between = [];
      registers.clear();
    } else if (open && !addressing.test(mnemonic)) between.push([mnemonic, operands]);
  }
  if (open) found.push('has products whose group never ends');
  return found;
}

function main() {
  const scratch = mkdtempSync(join(tmpdir(), 'sass-'));
  const failures = [];
  const counts = new Map();
  let total = 0;
  try {
    for (const object of [...objects(folder)].sort()) {
      const source = relative(folder, object).replace(/\.o$/, '');
      run('cuobjdump', ['-xelf', 'all', object], scratch);
      for (const cubin of readdirSync(scratch)) {
        const architecture = /\.(sm_\w+)\.cubin$/.exec(cubin)[1];
        for (const kernel of kernels(run('nvdisasm', ['-c', cubin], scratch))) {
          total += 1;
          for (const problem of new Set(problems(kernel, architecture, source))) {
            failures.push(`${source} ${architecture} ${kernel.name}: ${problem}`);
          }
          for (const loop of showLoops ? kernel.loops : []) {
            const of = (mnemonic) => loop[mnemonic] ?? 0;
            console.log(
              `${source} ${architecture} ${kernel.name}: ${loop.instructions} instructions, ` +
                `${of('HMMA') + of('HGMMA')} products, ${of('MUFU')} MUFU, ${of('LDSM')} LDSM`,
            );
          }
          for (const [mnemonic] of kernel.code) {
            if (!/^(HGMMA|HMMA|UTMA|LDSM|STSM|LDGSTS|ACQBULK|PREEXIT)/.test(mnemonic)) continue;
            const key = `${architecture} ${mnemonic.split('.').slice(0, 2).join('.')}`;
            counts.set(key, (counts.get(key) ?? 0) + 1);
          }
        }
        rmSync(join(scratch, cubin));
      }
    }
  } finally {
    rmSync(scratch, { recursive: true });
  }
  for (const [key, count] of [...counts].sort()) console.log(`${String(count).padStart(7)} ${key}`);
  console.log(`${total} kernels, ${failures.length} problems`);
  for (const failure of failures) console.error(failure);
  return total > 0 && failures.length === 0 ? 0 : 1;
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  try {
    process.exit(main());
  } catch (error) {
    console.error(`check_sass: ${error.message}`);
    process.exit(1);
  }
}
