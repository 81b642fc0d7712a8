import { readFileSync } from 'node:fs';

interface Entry {
  dtype: 'F32' | 'I64' | 'U8';
  shape: number[];
  data_offsets: [number, number];
}

/** Reads the tensors of a small safetensors fixture, independently of lib/io. Values as plain numbers. */
export function readSafetensors(path: string): Map<string, { shape: number[]; data: number[] }> {
  const file = readFileSync(path);
  const headerLength = Number(file.readBigUInt64LE(0));
  const header = JSON.parse(file.toString('utf8', 8, 8 + headerLength)) as Record<string, Entry>;
  delete header.__metadata__;
  return new Map(
    Object.entries(header).map(
      ([
        name,
        {
          dtype,
          shape,
          data_offsets: [begin, end],
        },
      ]) => {
        const bytes = Uint8Array.from(file.subarray(8 + headerLength + begin, 8 + headerLength + end));
        const values = { F32: Float32Array, I64: BigInt64Array, U8: Uint8Array }[dtype];
        return [name, { shape, data: Array.from(new values(bytes.buffer), Number) }];
      },
    ),
  );
}
