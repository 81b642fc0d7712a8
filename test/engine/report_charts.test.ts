import { confusionMatrix, escapeHtml, lineChart } from '../../lib/engine/report_charts';

test('a chart draws one line per series, inside its frame', () => {
  const chart = lineChart('Accuracy', 'epoch', [
    {
      name: 'top-1',
      points: [
        [0, 10],
        [1, 20],
        [2, 90],
      ],
    },
    {
      name: 'top-5',
      points: [
        [0, 50],
        [1, 60],
        [2, 100],
      ],
    },
  ]);
  const lines = [...chart.matchAll(/<path d="M([^"]*)"/g)].map((match) => match[1]!);
  expect(lines).toHaveLength(2);
  for (const line of lines) {
    const points = line.split('L').map((pair) => pair.split(' ').map(Number) as [number, number]);
    expect(points).toHaveLength(3);
    for (const [x, y] of points) {
      expect(x).toBeGreaterThanOrEqual(64);
      expect(x).toBeLessThanOrEqual(640);
      expect(y).toBeGreaterThanOrEqual(12);
      expect(y).toBeLessThanOrEqual(220);
    }
    // Greater values are higher up, which in SVG is a smaller y.
    expect(points[2]![1]).toBeLessThan(points[0]![1]);
  }
});

test('what is counted has whole ticks', () => {
  const points = [
    [1, 3],
    [2, 4],
  ] as const;
  const below = (chart: string) =>
    [...chart.matchAll(/text-anchor="middle">([^<]*)</g)].map((match) => match[1]);
  const series = [{ name: 'loss', points }];
  expect(below(lineChart('Loss', 'epoch', series))).toEqual(
    expect.arrayContaining(['1', '1.2', '1.4', '1.6', '1.8', '2']),
  );
  expect(below(lineChart('Loss', 'epoch', series, 1)).filter((tick) => /\d/.test(tick!))).toEqual(['1', '2']);
});

test('long series are thinned to averages, gaps are left out, nothing gives no chart', () => {
  const points = Array.from({ length: 5000 }, (_, x) => [x, x % 2 ? Number.NaN : 1] as const);
  const chart = lineChart('Loss', 'step', [{ name: 'loss', points }]);
  expect(chart.split('L').length).toBeLessThan(700);
  expect(chart).not.toContain('NaN');
  expect(lineChart('Loss', 'step', [{ name: 'loss', points: [] }])).toBe('');
  expect(lineChart('Loss', 'step', [{ name: 'loss', points: [[3, 5]] }])).toContain('<circle');
});

test('a confusion matrix has a cell per pair, counts and hints in the right ones', () => {
  const table = confusionMatrix(['cat', 'a<b'], [3, 1, 0, 2]);
  expect(table.match(/<td/g)).toHaveLength(4);
  expect(table).toContain('title="cat → a&lt;b: 1 of 4">1<');
  expect(table).toContain('title="cat → cat: 3 of 4">3<');
});

test('counts are shown while they have room', () => {
  const table = (classes: number) => {
    const names = Array.from({ length: classes }, (_, k) => `class ${k}`);
    return confusionMatrix(names, new Array(classes * classes).fill(3));
  };
  expect(table(24)).toContain('>3</td>');
  expect(table(25)).not.toContain('>3</td>');
  expect(
    table(2)
      .match(/class="(right|wrong)"/g)!
      .map((kind) => kind.slice(7, -1)),
  ).toEqual([...['right', 'wrong', 'wrong', 'right']]);
});

test('small numbers are written short', () => {
  const rates = { name: 'rate', points: [[0, 1e-6] as const, [1, 8e-6] as const] };
  expect(lineChart('Learning rate', 'epoch', [rates])).toContain('>4.0e-6</text>');
});

test('text cannot leave its place', () => {
  expect(escapeHtml(`<a href="x">'&'</a>`)).toBe('&lt;a href=&quot;x&quot;&gt;&#39;&amp;&#39;&lt;/a&gt;');
});
