import { execFile } from 'node:child_process';
import { cpSync, mkdtempSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { packageRoot } from '../../lib/native/load';
import { ptxFolder } from '../support/ptx';

// The tests in C++ once more, with kernels as the compiler for the device has translated them in place of what the host's
// makes of their source: the inline assembly of cuda/primitives, which the host never sees, is executed here.
const program = join(packageRoot(), 'build/emulation/cuda_test');
const compiled = ptxFolder() ?? '';
const withPtx = compiled ? test : test.skip; // without nvcc there is nothing to run

// Not of kernels, or about places in their source.
const others = [
  '-sfe=*emulation_*,*planted*,*runtime_test*,*recording*,*device_memory*,*shortage*',
  '-tce=*is found out,*is needed',
];

async function run(folder: string, filters: string[]): Promise<string> {
  const env = { ...process.env, EMULATION_PTX: folder };
  const options = { env, maxBuffer: 1 << 26, timeout: 900_000 };
  const { stdout } = await promisify(execFile)(program, filters, options).catch((error) => {
    throw new Error(`${error.message}\n${String(error.stdout).slice(-8000)}`);
  });
  return stdout;
}

withPtx(
  'the kernels of compute capability 9.0 pass their tests as the compiler has translated them',
  async () => {
    const stdout = await run(compiled, others);
    const [, cases, passed] = /test cases:\s*(\d+) \|\s*(\d+) passed/.exec(stdout) ?? [];
    expect(Number(cases)).toBeGreaterThan(120);
    expect(passed).toBe(cases);
  },
  900_000,
);

withPtx('a kernel that the compiler has not translated is an error', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'ptx-'));
  try {
    await expect(run(folder, ['-tc=softmax forward*'])).rejects.toThrow(`no kernel in ${folder}`);
    cpSync(join(compiled, 'copy.compute_90a.ptx'), join(folder, 'copy.compute_90a.ptx'));
    await expect(run(folder, ['-tc=softmax forward*'])).rejects.toThrow(/no file has \S+softmax_rows_kernel/);
  } finally {
    rmSync(folder, { recursive: true });
  }
});

// One mistake each in what is written by hand, and the test that finds it.
const mistakes: [string, string, RegExp, string, string][] = [
  [
    'columns for rows of a box',
    'TMA: a box*',
    /(bulk\.tensor\.3d\.shared.*\{)(%r\d+), (%r\d+)/g,
    '$1$3, $2',
    'hopper_primitives_test',
  ],
  [
    'rows for planes of a stored box',
    'TMA: stores*',
    /(bulk\.tensor\.3d\.global.*\{%r\d+, )(%r\d+), (%r\d+)/g,
    '$1$3, $2',
    'hopper_primitives_test',
  ],
  [
    'two registers of stmatrix',
    'stmatrix*',
    /(stmatrix.*\{)(%r\d+), (%r\d+)/g,
    '$1$3, $2',
    'hopper_primitives_test',
  ],
  [
    'A for B',
    'wgmma: descriptors*',
    /(wgmma\.mma.*\}, )(%rd\d+), (%rd\d+), p/g,
    '$1$3, $2, p',
    'hopper_primitives_test',
  ],
  [
    'two registers of A',
    'wgmma: A in*',
    /(wgmma\.mma.*\}, \{)(%r\d+), (%r\d+)/g,
    '$1$3, $2',
    'hopper_primitives_test',
  ],
  [
    'one block for two',
    'clusters: halves*',
    /(multicast::cluster .*, )%rs\d+;/g,
    '$11;',
    'hopper_primitives_test',
  ],
  ['another block', 'clusters: words*', /(mapa.*, )%r\d+;/g, '$10;', 'hopper_primitives_test'],
  ['a fence left out', 'gemm_sm90: views*', /fence\.proxy\.async\.shared::cta;/g, '', 'gemm_sm90_forward'],
  [
    'two registers of ldmatrix',
    'gemm_sm80: sums*',
    /(ldmatrix.*\{%r\d+, )(%r\d+), (%r\d+)/g,
    '$1$3, $2',
    'gemm_sm80_bfloat16',
  ],
  [
    'two registers of mma',
    'gemm_sm80: sums*',
    /(mma\.sync.*\}, \{%r\d+, )(%r\d+), (%r\d+)/g,
    '$1$3, $2',
    'gemm_sm80_bfloat16',
  ],
  [
    'all bytes for those that are valid',
    'gemm_sm80: sums*',
    /(cp\.async\.cg.*, 16, )%r\d+/g,
    '$116',
    'gemm_sm80_bfloat16',
  ],
  [
    'high for low',
    'softmax forward*',
    /(cvt\.rn\.bf16x2\.f32 %r\d+, )(%f\d+), (%f\d+)/g,
    '$1$3, $2',
    'softmax',
  ],
];

withPtx.each(mistakes)('a mistake is found out: %s', async (_name, cases, pattern, replacement, file) => {
  const folder = mkdtempSync(join(tmpdir(), 'ptx-'));
  try {
    for (const name of readdirSync(compiled)) symlinkSync(join(compiled, name), join(folder, name));
    const path = join(folder, `${file}.compute_90a.ptx`);
    const text = readFileSync(path, 'utf8');
    const changed = text.replace(pattern, replacement);
    expect(changed).not.toBe(text);
    rmSync(path);
    writeFileSync(path, changed);
    await expect(run(folder, [`-tc=${cases}`])).rejects.toThrow(/\| +[1-9]\d* failed/);
  } finally {
    rmSync(folder, { recursive: true });
  }
});
