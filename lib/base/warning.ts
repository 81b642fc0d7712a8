/** The warnings of this package, by their stable codes. */
const codes = [
  /** `auto` is the CPU although the build has kernels for a GPU. */
  'DEVICE_FALLBACK',
  /** Frames of a video could not be decoded; those asked for may show traces of it. */
  'VIDEO_DAMAGED',
  /** Work goes on launch by launch, because it could not be recorded. */
  'CUDA_GRAPH_REFUSED',
  /** Recorded work was given up for the memory that it held, and goes on launch by launch. */
  'CUDA_GRAPH_GIVEN_UP',
] as const;

export type WarningCode = (typeof codes)[number];

/** Warns through `process.emitWarning`: a listener for `warning` finds the code in `warning.code`. */
export function warn(code: WarningCode, message: string): void {
  process.emitWarning(message, { code });
}

/** Whether a warning of the process is one of this package's. */
export function isOwnWarning(warning: Error): warning is Error & { code: WarningCode } {
  return (codes as readonly unknown[]).includes((warning as { code?: unknown }).code);
}
