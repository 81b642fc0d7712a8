/**
 * Codes that blame a video, which a rule for bad videos may answer. (ERR_FILE_IO is a bad spot on the disk more often than the
 * end of it, which shows in how many videos have it.) All others end the work under every rule: they are the machine's
 * (ERR_SYSTEM, ERR_OUT_OF_MEMORY), the caller's (ERR_ABORTED) or ours.
 */
const videoFaults =
  /^ERR_(VIDEO_(FORMAT|EMPTY|DECODE|LIMIT|TIMEOUT)|FILE_NOT_FOUND|FILE_READ|FILE_IO|FRAME_RANGE)$/;

/** What a video did wrong; undefined when `error` is not its fault. */
export function videoFault(error: unknown): { code: string; reason: string } | undefined {
  const { code, message } = error as { code?: unknown; message?: unknown };
  return typeof code === 'string' && videoFaults.test(code) ? { code, reason: String(message) } : undefined;
}
