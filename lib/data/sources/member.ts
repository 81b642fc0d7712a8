/** A file inside an archive: `length` bytes from `offset` of the archive. */
export interface Member {
  /** Path inside the archive, with "/". */
  name: string;
  offset: number;
  length: number;
}
