import { spawnSync } from 'node:child_process';
import { packageRoot } from '../../lib/native/load';

// The check of the machine code, scripts/check_sass.mjs, on short kernels in the form in which nvdisasm prints them: it
// accepts what the sources count on and finds each thing that it is there to find. Written by hand; the tools that print
// the real ones are not needed.

/** A listing of one kernel. */
const listing = (name: string, ...instructions: string[]) =>
  [
    `.text.${name}:`,
    `        .type           ${name},@function`,
    `${name}:`,
    ...instructions.map(
      (instruction, i) =>
        `        /*${(16 * i).toString(16).padStart(4, '0')}*/                   ${instruction} ;`,
    ),
    '.L_x_0:',
    '',
  ].join('\n');

/** What the check says of each kernel of a listing: `[name, [problem, ...]]`. */
function check(sass: string, architecture: string, source: string): [string, string[]][] {
  const script = `
    import { readFileSync } from 'node:fs';
    import { kernels, problems } from './scripts/check_sass.mjs';
    const { sass, architecture, source } = JSON.parse(readFileSync(0, 'utf8'));
    const found = kernels(sass).map((kernel) => [kernel.name, problems(kernel, architecture, source)]);
    console.log(JSON.stringify(found));`;
  const { status, stdout, stderr } = spawnSync(process.execPath, ['--input-type=module', '-e', script], {
    cwd: packageRoot(),
    input: JSON.stringify({ sass: `header\n${sass}`, architecture, source }),
    encoding: 'utf8',
  });
  expect({ status, stderr }).toEqual({ status: 0, stderr: '' });
  return JSON.parse(stdout);
}
const problemsOf = (instructions: string[], architecture = 'sm_90a', source = 'add.cu') => {
  const [[name, problems] = [], ...more] = check(listing('kernel', ...instructions), architecture, source);
  expect([name, more]).toEqual(['kernel', []]);
  return problems;
};

const wait = 'ACQBULK';
const load = 'LDG.E.128 R4, desc[UR4][R2.64]';
const store = 'STG.E.128 desc[UR4][R6.64], R4';
const product = (last: boolean) =>
  `HGMMA.64x192x16.F32.BF16 R24, gdesc[UR8].tnspB, R24${last ? ', gsb0' : ''}`;
const warpgroup = [
  wait,
  '@!P0 UTMALDG.3D [UR16], [UR14], desc[UR6]',
  'UTMALDG.3D.MULTICAST [UR8], [UR4], UR7',
  'SYNCS.PHASECHK.TRANS64.TRYWAIT P0, [R3+URZ], R0',
  'USETMAXREG.DEALLOC.CTAPOOL 0x18',
  'USETMAXREG.TRY_ALLOC.CTAPOOL UP0, 0xf0',
  product(false),
  'UIADD3 UR8, UR8, 0x2, URZ',
  product(true),
  'WARPGROUP.DEPBAR.LE gsb0, 0x1',
  'STSM.16.M88.4 [R10], R24',
  'FENCE.VIEW.ASYNC.S',
  'UTMASTG.3D [UR4], [UR6]',
  'UTMACMDFLUSH',
];
const without = (start: string) => warpgroup.filter((instruction) => !instruction.includes(start));

test('a kernel that waits, then loads and stores whole vectors, is in order', () => {
  expect(problemsOf([wait, load, 'FADD R4, R4, R5', store, 'PREEXIT', 'EXIT'])).toEqual([]);
  expect(problemsOf(warpgroup, 'sm_90a', 'gemm/gemm_sm90_forward.cu')).toEqual([]);
});

test('kernels of one listing are told apart, and empty ones are left out', () => {
  const sass = [
    listing('good', wait, load, store),
    listing('empty', 'LDC R1, c[0x0][0x28]', 'EXIT', 'BRA `(.L_x_0)'),
    listing('bad', load, wait, store),
  ].join('\n');
  expect(check(sass, 'sm_90a', 'add.cu')).toEqual([
    ['good', []],
    ['bad', ['has LDG.E.128 before it waits for the grid in front']],
  ]);
});

test.each(['LDL R4, [R1+0x10]', '@P0 STL.64 [R1], R8'])('local memory is found: %s', (access) => {
  expect(problemsOf([wait, load, access, store])).toEqual(['uses local memory']);
  expect(problemsOf([load, access, store], 'sm_80')).toEqual(['uses local memory']);
});

test('a kernel that never waits is found, on the architecture where grids overlap', () => {
  expect(problemsOf([load, store])).toEqual(['does not wait for the grid in front']);
  expect(problemsOf([load, store], 'sm_80')).toEqual([]);
});

test('loads that take the memory for constant are found, on the architecture where grids overlap', () => {
  const constant = 'LDG.E.128.CONSTANT R4, desc[UR4][R2.64]';
  expect(problemsOf([wait, constant, store])).toEqual(['takes memory that it reads for constant']);
  expect(problemsOf([constant, store], 'sm_80')).toEqual([]);
});

test('a vector that is stored in parts is found, in any order of its parts', () => {
  const part = (offset: string, predicate = '') => `${predicate}STG.E desc[UR4][R6.64${offset}], R8`;
  const split = [part(''), part('+0x8', '@!P1 '), 'IMAD R3, R3, R4, R5', part('+0x4'), part('+0xc')];
  const complaint = ['stores 1 vectors in parts and none whole'];
  expect(problemsOf([wait, load, ...split])).toEqual(complaint);
  expect(problemsOf([load, ...split.map((line) => line.replace('desc[UR4]', ''))], 'sm_80')).toEqual(
    complaint,
  );
  const halves = ['STG.E.64 desc[UR4][R6.64+-0x10], R8', 'STG.E.64.STRONG.SM desc[UR4][R6.64+-0x8], R10'];
  expect(problemsOf([wait, ...halves])).toEqual(complaint);
  // Tails of a kernel with whole vectors, three of four parts, other rows, other widths: none is a vector.
  expect(problemsOf([wait, ...split, store])).toEqual([]);
  expect(problemsOf([wait, part(''), part('+0x4'), part('+0x8'), part('+0x10')])).toEqual([]);
  expect(problemsOf([wait, ...split.map((line, i) => line.replace('R6', `R${i}`))])).toEqual([]);
  expect(problemsOf([wait, ...split.map((line) => line.replace('STG.E', 'STG.E.U16'))])).toEqual([]);
  expect(problemsOf([wait, ...split], 'sm_90a', 'attention_scalar_forward.cu')).toEqual([]);
});

test('kernels of tests need no wait and may store their numbers one by one; all else holds for them too', () => {
  const parts = ['', '+0x4', '+0x8', '+0xc'].map((offset) => `STG.E desc[UR4][R6.64${offset}], R8`);
  const source = 'test/cuda/hopper_primitives_test.cu';
  expect(problemsOf([load, ...parts], 'sm_90a', source)).toEqual([]);
  expect(problemsOf(['LDL R4, [R1+0x10]', ...parts], 'sm_90a', source)).toEqual(['uses local memory']);
  expect(problemsOf([load, wait, store], 'sm_90a', source)).toEqual([
    'has LDG.E.128 before it waits for the grid in front',
  ]);
  expect(problemsOf([product(false)], 'sm_90a', source)).toEqual(['has products whose group never ends']);
});

test.each([
  ['HGMMA', 'has no HGMMA'],
  ['UTMALDG.3D.MULTICAST', 'has no UTMALDG.3D.MULTICAST'],
  ['UTMASTG', 'has no UTMASTG.3D'],
  ['STSM', 'has no STSM'],
  ['WARPGROUP.DEPBAR', 'has no WARPGROUP.DEPBAR.LE'],
  ['TRY_ALLOC', 'has no USETMAXREG.TRY_ALLOC'],
])('a product without %s is found', (instruction, complaint) => {
  expect(problemsOf(without(instruction), 'sm_90a', 'gemm/gemm_sm90_forward.cu')).toEqual([complaint]);
});

test('sums that are touched between products of a group are found, and a group without an end', () => {
  const touched = warpgroup.map((line) => (line.startsWith('UIADD3') ? 'MOV R24, R88' : line));
  expect(problemsOf(touched, 'sm_90a', 'gemm/gemm_sm90_forward.cu')).toEqual([
    'has MOV between products of a group',
  ]);
  expect(problemsOf([wait, product(false)])).toEqual(['has products whose group never ends']);
});

test('between products of a group there may be scalars, which name none of its registers', () => {
  const left = (step: number, last: boolean) =>
    `HGMMA.64x16x16.F32.BF16 R56, R${88 + 4 * step}, gdesc[UR8], R56${last ? ', gsb0' : ''}`;
  const between = (line: string) => problemsOf([wait, left(0, false), line, left(1, true)]);
  for (const line of ['ISETP.LE.OR P0, PT, R5, UR8, !P1', 'IMAD.MOV.U32 R64, RZ, RZ, R12', 'CS2R R54, SRZ']) {
    expect(between(line)).toEqual([]);
  }
  // Sums of this product, the right half of a pair, a left operand of this product or a later one.
  for (const line of [
    'MOV R63, R12',
    'CS2R R55, SRZ',
    'MOV R12, R56',
    'IMAD.MOV.U32 R91, RZ, RZ, R12',
    'MOV R95, R1',
  ]) {
    expect(between(line)).toEqual([`has ${line.split(' ')[0]} between products of a group`]);
  }
  expect(between('FADD R4, R4, R5')).toEqual(['has FADD between products of a group']);
});

test('the innermost loops around products are counted', () => {
  const body = [
    '.text.kernel:',
    '        /*0000*/                   MOV R1, R2 ;',
    '.L_x_0:',
    '        /*0010*/                   LDSM.16.M88.4 R8, [R3] ;',
    '.L_x_1:',
    '        /*0020*/                   HMMA.16816.F32.BF16 R4, R8, R12, R4 ;',
    '        /*0030*/                   MUFU.EX2 R5, R4 ;',
    '        /*0040*/               @P0 BRA `(.L_x_1) ;',
    '        /*0050*/               @P1 BRA `(.L_x_0) ;',
    '.L_x_2:',
    '        /*0060*/                   FADD R5, R4, R4 ;',
    '        /*0070*/               @P1 BRA `(.L_x_2) ;',
    '        /*0080*/              @!P1 BRA `(.L_x_3) ;',
    '.L_x_3:',
    '        /*0090*/                   EXIT ;',
  ].join('\n');
  const script = `
    import { readFileSync } from 'node:fs';
    import { kernels } from './scripts/check_sass.mjs';
    console.log(JSON.stringify(kernels(readFileSync(0, 'utf8'))[0].loops));`;
  const { stdout } = spawnSync(process.execPath, ['--input-type=module', '-e', script], {
    cwd: packageRoot(),
    input: `header\n${body}`,
    encoding: 'utf8',
  });
  expect(JSON.parse(stdout)).toEqual([{ instructions: 3, HMMA: 1, MUFU: 1, BRA: 1 }]);
});

test('products of sm_80 need matrix loads and asynchronous copies', () => {
  const kernel = [
    'LDGSTS.E.BYPASS.128 [R3], [R4.64]',
    'LDSM.16.M88.4 R8, [R3]',
    'HMMA.16816.F32.BF16 R4, R8, R12, R4',
  ];
  expect(problemsOf(kernel, 'sm_80', 'gemm/gemm_sm80_bfloat16.cu')).toEqual([]);
  expect(problemsOf(kernel.slice(1), 'sm_80', 'gemm/gemm_sm80_bfloat16.cu')).toEqual([
    'has no LDGSTS.E.BYPASS',
  ]);
  expect(problemsOf(kernel, 'sm_80', 'gemm/gemm_sm80_tf32.cu')).toEqual(['has no HMMA.1688.F32.TF32']);
});
