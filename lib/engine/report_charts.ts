/** Pictures of a report as SVG and HTML text, without scripts and without anything from outside. */

export interface Series {
  name: string;
  /** In ascending x. Values that are not finite are left out. */
  points: readonly (readonly [x: number, y: number])[];
}

const size = { width: 440, height: 230, left: 64, right: 12, top: 12, bottom: 40 };
/** Colours that the style of the page defines. */
const inks = ['var(--ink-0)', 'var(--ink-1)'];
/** More points than this cannot be told apart; they are averaged in groups. */
const maxPoints = 600;

/**
 * A line chart with a legend when there are several series; '' when there is nothing to draw.
 *
 * @param leastStep distance of ticks along x that is not divided further, as 1 of what is counted
 */
export function lineChart(title: string, xLabel: string, series: readonly Series[], leastStep = 0): string {
  const drawn = series.map(({ name, points }) => ({ name, points: thin(points) }));
  const all = drawn.flatMap(({ points }) => points);
  if (all.length === 0) return '';
  const xs = axis(
    all.map(([x]) => x),
    leastStep,
  );
  const ys = axis(all.map(([, y]) => y));
  const x = (value: number) =>
    size.left + ((value - xs.low) / (xs.high - xs.low)) * (size.width - size.left - size.right);
  const y = (value: number) =>
    size.height -
    size.bottom -
    ((value - ys.low) / (ys.high - ys.low)) * (size.height - size.top - size.bottom);
  const bottom = size.height - size.bottom;
  const grid = ys.ticks.map(
    (tick) =>
      `<path class="grid" d="M${size.left} ${y(tick).toFixed(1)}H${size.width - size.right}"/>` +
      `<text x="${size.left - 6}" y="${(y(tick) + 4).toFixed(1)}" text-anchor="end">${short(tick)}</text>`,
  );
  const ticks = xs.ticks.map(
    (tick) => `<text x="${x(tick).toFixed(1)}" y="${bottom + 16}" text-anchor="middle">${short(tick)}</text>`,
  );
  const lines = drawn.map(({ points }, k) => {
    const ink = inks[k % inks.length];
    if (points.length === 1) {
      const [px, py] = points[0]!;
      return `<circle cx="${x(px).toFixed(1)}" cy="${y(py).toFixed(1)}" r="3" style="fill:${ink}"/>`;
    }
    const path = points.map(([px, py]) => `${x(px).toFixed(1)} ${y(py).toFixed(1)}`).join('L');
    return `<path d="M${path}" style="fill:none;stroke:${ink};stroke-width:1.8"/>`;
  });
  const legend =
    drawn.length < 2
      ? ''
      : drawn
          .map(({ name }, k) => `<b style="color:${inks[k % inks.length]}">${escapeHtml(name)}</b>`)
          .join(' ');
  return (
    `<figure><figcaption>${escapeHtml(title)} ${legend}</figcaption>` +
    `<svg viewBox="0 0 ${size.width} ${size.height}" role="img" aria-label="${escapeHtml(title)}">` +
    grid.join('') +
    ticks.join('') +
    lines.join('') +
    `<text x="${(size.left + size.width) / 2}" y="${size.height - 6}" text-anchor="middle">${escapeHtml(xLabel)}</text>` +
    '</svg></figure>'
  );
}

/**
 * A confusion matrix as a table of shades: rows are true classes, columns what the model said.
 * @param counts row-major [K, K]
 */
export function confusionMatrix(names: readonly string[], counts: ArrayLike<number>): string {
  const classes = names.length;
  const counted = classes <= 24;
  const rows = names.map((name, row) => {
    const own = Array.from({ length: classes }, (_, column) => counts[row * classes + column]!);
    const total = own.reduce((a, b) => a + b, 0);
    const cells = own.map((count, column) => {
      if (count === 0) return '<td></td>';
      const share = (0.15 + (0.85 * count) / total).toFixed(2);
      const kind = row === column ? 'right' : 'wrong';
      const hint = `${name} → ${names[column]}: ${count} of ${total}`;
      return `<td class="${kind}" style="--share:${share}" title="${escapeHtml(hint)}">${counted ? count : ''}</td>`;
    });
    return `<tr><th title="${escapeHtml(name)}">${escapeHtml(name)}</th>${cells.join('')}</tr>`;
  });
  return `<table class="matrix${counted ? ' counts' : ''}">${rows.join('')}</table>`;
}

/** Text that stands for itself in HTML, in attributes too. */
export function escapeHtml(text: string): string {
  const names: Record<string, string> = {
    '&': '&amp;',
    '<': '&lt;',
    '>': '&gt;',
    '"': '&quot;',
    "'": '&#39;',
  };
  return text.replace(/[&<>"']/g, (character) => names[character]!);
}

/** At most {@link maxPoints} points: means of neighbouring ones. */
function thin(points: Series['points']): (readonly [number, number])[] {
  const finite = points.filter(([x, y]) => Number.isFinite(x) && Number.isFinite(y));
  const group = Math.ceil(finite.length / maxPoints);
  if (group <= 1) return finite;
  return Array.from({ length: Math.ceil(finite.length / group) }, (_, k) => {
    const part = finite.slice(k * group, (k + 1) * group);
    const mean = (which: 0 | 1) => part.reduce((sum, point) => sum + point[which], 0) / part.length;
    return [mean(0), mean(1)] as const;
  });
}

/** Round limits around the values and 4 to 10 round ticks between them, fewer where they would be closer than `leastStep`. */
function axis(values: readonly number[], leastStep = 0): { low: number; high: number; ticks: number[] } {
  let [low, high] = [Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY];
  for (const value of values) [low, high] = [Math.min(low, value), Math.max(high, value)];
  if (low === high) [low, high] = [low - Math.abs(low || 1) / 2, high + Math.abs(high || 1) / 2];
  const rough = Math.max((high - low) / 5, leastStep);
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((factor) => factor * power).find((candidate) => candidate >= rough)!;
  const first = Math.floor(low / step);
  const last = Math.ceil(high / step);
  const ticks = Array.from({ length: last - first + 1 }, (_, k) => (first + k) * step);
  return { low: first * step, high: last * step, ticks };
}

function short(value: number): string {
  if (value === 0) return '0';
  const magnitude = Math.abs(value);
  return magnitude < 1e-3 || magnitude >= 1e6 ? value.toExponential(1) : String(Number(value.toPrecision(4)));
}
