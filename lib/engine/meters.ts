/** Running average of a quantity, each value weighted by the number of samples it stands for. */
export class AverageMeter {
  /** The last value. */
  value = 0;
  private sum = 0;
  private weight = 0;

  /** Mean of all values so far; 0 before the first. */
  get average(): number {
    return this.weight === 0 ? 0 : this.sum / this.weight;
  }

  update(value: number, weight = 1): void {
    this.value = value;
    this.sum += value * weight;
    this.weight += weight;
  }
}

/** A duration as H:MM:SS, with days in front from the first full one on, as in "1 day, 2:03:04". */
export function formatDuration(seconds: number): string {
  const whole = Math.max(0, Math.floor(seconds));
  const days = Math.floor(whole / 86400);
  const two = (value: number) => String(value).padStart(2, '0');
  const clock = `${Math.floor((whole % 86400) / 3600)}:${two(Math.floor((whole % 3600) / 60))}:${two(whole % 60)}`;
  return days === 0 ? clock : `${days} day${days === 1 ? '' : 's'}, ${clock}`;
}
