export interface TwoMachines {
  /** IPv4, of each. */
  addresses: [string, string];
  /** The command line that runs `words` on a machine. */
  command(machine: number, words: string[]): string[];
  remove(): void;
}
export function twoMachines(options?: { rate?: string; hosts?: [string, string] }): TwoMachines;
