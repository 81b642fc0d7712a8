// What machine a figure was measured on, and where results are kept.
import { execFileSync } from 'node:child_process';
import { mkdirSync, writeFileSync } from 'node:fs';
import { availableParallelism, cpus, totalmem } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

export const root = join(dirname(fileURLToPath(import.meta.url)), '..');

export function machine() {
  const cpu = cpus()[0]?.model.trim() ?? 'unknown';
  let flags = '';
  try {
    const wanted = ['avx2', 'avx512f', 'avx512_bf16', 'amx_bf16', 'asimd'];
    const words = ['-m1', '-E', '^(flags|Features)', '/proc/cpuinfo'];
    const present = execFileSync('grep', words, { encoding: 'utf8' }).split(/\s+/);
    flags = wanted.filter((flag) => present.includes(flag)).join(' ');
  } catch {
    flags = 'unknown';
  }
  return {
    cpu,
    cores: availableParallelism(),
    memoryGiB: Math.round(totalmem() / 2 ** 30),
    vectors: flags,
    node: process.version,
    platform: `${process.platform} ${process.arch}`,
  };
}

/** A name as part of a file name: `nvidia-h200`. */
export const slug = (name) => name.toLowerCase().replace(/[^a-z0-9]+/g, '-');

/** A processor's name as part of a file name: `intel-xeon`, `amd-epyc`. */
export const processorSlug = (cpu = machine().cpu) =>
  slug(
    cpu
      .replace(/\((?:r|tm)\)|\bprocessor\b|\bcpu\b|@.*/gi, ' ')
      .trim()
      .replace(/\s+/g, ' '),
  );

/** How many times faster ours is, by the seconds of both; null where either is missing. */
export const ratio = (theirs, own) => (theirs && own ? Number((theirs / own).toFixed(3)) : null);

export function median(values) {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.floor(sorted.length / 2)];
}

/** A number as people read it: 0, 0.16, 1.1e-6. */
export function shortNumber(value) {
  return value === 0 || Math.abs(value) >= 1e-3 ? String(value) : value.toExponential();
}

/** Writes bench/results/<name>.json, or one in another folder, with the machine and the date. */
export function saveResult(name, result, folder = join(root, 'bench/results')) {
  mkdirSync(folder, { recursive: true });
  const file = join(folder, `${name}.json`);
  const record = { date: new Date().toISOString().slice(0, 10), machine: machine(), ...result };
  // Lists of numbers in one line, where they are read at a glance.
  const text = JSON.stringify(record, null, 2).replace(/\[\s+([-\d.,e+\s]+?)\s+\]/g, (_, numbers) => {
    return `[${numbers.replace(/\s+/g, ' ')}]`;
  });
  writeFileSync(file, `${text}\n`);
  return file;
}
