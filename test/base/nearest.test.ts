import { editDistance, nearestName } from '../../lib/base/nearest';

test('editDistance counts insertions, deletions and replacements', () => {
  expect(editDistance('kitten', 'sitting')).toBe(3);
  expect(editDistance('', 'abc')).toBe(3);
  expect(editDistance('same', 'same')).toBe(0);
});

test.each([
  ['TRAIN.EPOCH', 'TRAIN.EPOCHS'],
  ['train.lr', 'TRAIN.LR'],
  ['LR', 'TRAIN.LR'],
  ['TEST.BATCHSIZE', 'TRAIN.BATCH_SIZE'],
  ['COMPLETELY.DIFFERENT', undefined],
])('nearestName(%s) is %s', (name, expected) => {
  expect(nearestName(name, ['TRAIN.EPOCHS', 'TRAIN.LR', 'TRAIN.BATCH_SIZE'])).toBe(expected);
});

test('a match of the last part alone comes behind one of the whole', () => {
  expect(nearestName('TRAIN.EPOCH', ['TEST.EPOCHS', 'TRAIN.EPOCHS'])).toBe('TRAIN.EPOCHS');
});
