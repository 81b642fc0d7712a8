// How far this package is from the official implementation, whose numbers are recorded in test/fixtures/golden.
//
//   node bench/parity.mjs
//
// Prints each largest difference beside what is allowed, keeps them in bench/results/parity.json, and fails when one
// is too large. The tests hold every tensor to the same tolerances; this is the summary of them.
import { saveResult, shortNumber } from './machine.mjs';

const rows = [];
for (const topic of ['model', 'training', 'data']) {
  const part = await import(`./parity/${topic}.mjs`);
  rows.push(...(await part.rows()));
}
const result = rows.map((row) => ({ ...row, difference: Number(row.difference.toPrecision(2)) }));
for (const { what, difference, allowed } of result) {
  console.log(`${what.padEnd(72)}${shortNumber(difference).padStart(9)}  of ${shortNumber(allowed)}`);
}
// Written this way round, a difference that is no number fails, too.
const wrong = rows.filter(({ difference, allowed }) => !(difference <= allowed));
if (wrong.length > 0) {
  console.error(`too far from the official implementation: ${wrong.map(({ what }) => what).join('; ')}`);
  process.exitCode = 1;
} else {
  console.log(saveResult('parity', { rows: result }));
}
