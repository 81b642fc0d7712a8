/** A tar archive of regular files with names of at most 100 bytes. */
export function makeTar(files: Record<string, string | Uint8Array>): Buffer {
  const blocks = Object.entries(files).flatMap(([name, contents]) => {
    const bytes = Buffer.from(contents as Uint8Array);
    return [tarHeader(name, bytes.length), bytes, Buffer.alloc((512 - (bytes.length % 512)) % 512)];
  });
  return Buffer.concat([...blocks, Buffer.alloc(1024)]);
}

/** A ustar header; `size` may be the field's text, `change` writes into the block before the checksum is made. */
export function tarHeader(
  name: string,
  size: number | string,
  type = '0',
  change?: (block: Buffer) => void,
): Buffer {
  const block = Buffer.alloc(512);
  block.write(name, 0);
  block.write(typeof size === 'string' ? size : `${size.toString(8).padStart(11, '0')}\0`, 124, 'latin1');
  block.write(type, 156);
  block.write('ustar\x0000', 257, 'latin1');
  change?.(block);
  block.fill(' ', 148, 156);
  const sum = block.reduce((total, byte) => total + byte, 0);
  block.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148, 'latin1');
  return block;
}
