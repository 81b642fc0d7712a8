import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { readLabels } from '../../../lib/data/labels';
import { ClassTable } from '../../../lib/data/prepare/classes';
import { type PrepareOptions, prepareDataset } from '../../../lib/data/prepare/prepare';
import { drawSplits, newClasses, renamedClasses } from '../../../lib/data/prepare/zero_shot';

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'prepare-'));
});
afterEach(() => rmSync(folder, { recursive: true }));

function put(name: string, contents = ''): void {
  mkdirSync(dirname(join(folder, name)), { recursive: true });
  writeFileSync(join(folder, name), contents);
}

function prepare(dataset: PrepareOptions['dataset'], options: Partial<PrepareOptions> = {}) {
  put('labels.csv', 'id,name\n0,air drumming\n1,"petting animal, not cat"\n');
  put('videos/readme.txt');
  return prepareDataset({
    dataset,
    root: join(folder, 'videos'),
    annotations: join(folder, 'annotations'),
    output: join(folder, 'lists'),
    labels: join(folder, 'labels.csv'),
    ...options,
  });
}

const list = (name: string) => readFileSync(join(folder, 'lists', name), 'utf8');
const coded = (code: string, message: RegExp) =>
  expect.objectContaining({ code, message: expect.stringMatching(message) });

const header = 'label,youtube_id,time_start,time_end,split';

describe('Kinetics', () => {
  beforeEach(() => {
    put(
      'annotations/train.csv',
      `\uFEFF${header}\r\nair drumming,aaaaaaaaaaa,1,11,train\r\n"petting animal, not cat",-b_,5.0,15.0,train\r\n`,
    );
    put(
      'annotations/validate.csv',
      'split,time_end,time_start,youtube_id,label,is_cc\nvalidate,130,120,ccc,Air_Drumming,0\nvalidate,9,0,ddd,"petting animal, not cat",1\n\nvalidate,10,0,gone,air drumming,0\n',
    );
    put('annotations/test.csv', 'youtube_id,time_start,time_end,split\nzzz,0,10,test\n');
    put('annotations/notes.txt', 'not read');
    put('videos/air drumming/aaaaaaaaaaa_000001_000011.mp4');
    put('videos/-b__000005_000015.mkv');
    put('videos/other/ccc_000120_000130.mp4');
    put('videos/air_drumming/ccc_000120_000130.mp4');
    put('videos/petting animal, not cat/ddd_000000_000009.webm');
  });

  test('official columns in any order; clips are found in any folder, in that of their class first', async () => {
    const summaries = await prepare('kinetics400');
    expect(list('train.txt')).toBe('air drumming/aaaaaaaaaaa_000001_000011.mp4 0\n-b__000005_000015.mkv 1\n');
    expect(list('val.txt')).toBe(
      'air_drumming/ccc_000120_000130.mp4 0\npetting animal, not cat/ddd_000000_000009.webm 1\n',
    );
    expect(list('missing.txt')).toBe('gone_000000_000010.mp4\n');
    expect(existsSync(join(folder, 'lists/test.txt'))).toBe(false);
    expect(summaries[1]).toEqual({ path: join(folder, 'lists/val.txt'), videos: 2, classes: 2, missing: 1 });
  });

  test.each<[string, string, string, RegExp]>([
    [
      'an unknown class',
      `${header}\nzumba,a,0,10,train\n`,
      'ERR_LABELS',
      /train\.csv:2: class "zumba" is not among the 2/,
    ],
    [
      'a class without clips',
      `${header}\nair drumming,a,0,10,train\n`,
      'ERR_LABELS',
      /1 classes.*has 2;.*petting animal/,
    ],
    ['a row cut short', `${header}\nair drumming,a,0\n`, 'ERR_LIST_FORMAT', /train\.csv:2: expected label/],
    ['an id with a path', `${header}\nair drumming,../a,0,10,train\n`, 'ERR_LIST_FORMAT', /train\.csv:2/],
    ['another split', `${header}\nair drumming,a,0,10,holdout\n`, 'ERR_LIST_FORMAT', /train\.csv:2/],
    [
      'no header',
      'air drumming,a,0,10,train\n',
      'ERR_LIST_FORMAT',
      /train\.csv:1: there is no column "label"/,
    ],
    ['nothing', '', 'ERR_LIST_FORMAT', /train\.csv:1/],
    ['no clip', header, 'ERR_LIST_FORMAT', /no clip of the split "train"/],
  ])('refuses annotations with %s', async (_, text, code, message) => {
    put('annotations/train.csv', text);
    await expect(prepare('kinetics400')).rejects.toEqual(coded(code, message));
    expect(existsSync(join(folder, 'lists'))).toBe(false);
  });

  test('a root without the videos, a missing folder of annotations, one without any', async () => {
    mkdirSync(join(folder, 'empty'));
    await expect(prepare('kinetics400', { root: join(folder, 'empty') })).rejects.toEqual(
      coded('ERR_FILE_NOT_FOUND', /train\.txt: none of the 2 .*"aaaaaaaaaaa_000001_000011\.mp4"/),
    );
    await expect(prepare('kinetics400', { annotations: join(folder, 'no') })).rejects.toEqual(
      coded('ERR_FILE_NOT_FOUND', /no does not exist/),
    );
    await expect(prepare('ucf101', { annotations: join(folder, 'empty') })).rejects.toEqual(
      coded('ERR_FILE_NOT_FOUND', /empty has none of the annotation files of ucf101$/),
    );
  });

  test('zero-shot splits: validation videos of new classes, renumbered, drawn by seed', async () => {
    const names = ['air drumming', 'luge', 'packing', 'dyeing hair', 'staring'];
    put('k600.csv', `id,name\n${names.map((name, id) => `${id},${name}\n`).join('')}`);
    const rows = names.flatMap((name, id) => [`${name},t${id},0,10,train`, `${name},v${id},0,10,val`]);
    put('annotations/train.csv', [header, ...rows].join('\n'));
    rmSync(join(folder, 'annotations/validate.csv'));
    for (const id of names.keys()) for (const kind of 'tv') put(`videos/${kind}${id}_000000_000010.mp4`);
    const options = { labels: join(folder, 'k600.csv'), zeroShotClasses: 2 };
    await prepare('kinetics600', options);
    const splits = [1, 2, 3].map((n) => list(`zero_shot_val_split${n}.txt`));
    for (const [i, text] of splits.entries()) {
      const labels = readLabels(join(folder, `lists/zero_shot_labels_split${i + 1}.csv`));
      expect(labels).toHaveLength(2);
      const ids = labels.map((name) => names.indexOf(name));
      expect(['luge', 'packing', 'staring']).toEqual(expect.arrayContaining(labels));
      expect(text).toBe(`v${ids[0]}_000000_000010.mp4 0\nv${ids[1]}_000000_000010.mp4 1\n`);
    }
    await prepare('kinetics600', options);
    expect([1, 2, 3].map((n) => list(`zero_shot_val_split${n}.txt`))).toEqual(splits);
    const others: string[] = [];
    for (const seed of [1, 2, 3, 4]) {
      await prepare('kinetics600', { ...options, seed });
      others.push(list('zero_shot_val_split1.txt'));
    }
    expect(new Set(others).size).toBeGreaterThan(1);
    await expect(prepare('kinetics600', { ...options, zeroShotClasses: 4 })).rejects.toEqual(
      coded('ERR_ARGUMENT', /takes 4 classes, but only 3 are new/),
    );
  });

  test('zero-shot splits that are given: their classes in their order, of the test videos where asked for', async () => {
    const names = ['air drumming', 'luge', 'packing', 'staring'];
    put('k600.csv', `id,name\n${names.map((name, id) => `${id},${name}\n`).join('')}`);
    const rows = names.flatMap((name, id) => [
      ...[`${name},t${id},0,10,train`, `${name},v${id},0,10,val`, `${name},e${id},0,10,test`],
    ]);
    put('annotations/train.csv', [header, ...rows].join('\n'));
    for (const id of names.keys()) for (const kind of 'tve') put(`videos/${kind}${id}_000000_000010.mp4`);
    put('one.csv', 'id,name\n0,Staring\n1,luge\n');
    put('two.csv', 'id,name\n0,packing\n1,air drumming\n');
    const splitFiles = ['one.csv', 'two.csv'].map((name) => join(folder, name));
    const options = { labels: join(folder, 'k600.csv'), splitFiles };
    rmSync(join(folder, 'annotations/validate.csv'));
    await prepare('kinetics600', options);
    expect(list('zero_shot_val_split1.txt')).toBe('v1_000000_000010.mp4 1\nv3_000000_000010.mp4 0\n');
    expect(list('zero_shot_labels_split2.csv')).toBe('id,name\n0,packing\n1,air drumming\n');
    expect(existsSync(join(folder, 'lists/zero_shot_val_split3.txt'))).toBe(false);
    await prepare('kinetics600', { ...options, zeroShotVideos: 'test' });
    expect(list('zero_shot_val_split2.txt')).toBe('e0_000000_000010.mp4 1\ne2_000000_000010.mp4 0\n');
    put('two.csv', 'id,name\n0,packing\n1,zumba\n');
    await expect(prepare('kinetics600', options)).rejects.toEqual(
      coded('ERR_LABELS', /two\.csv: class "zumba"/),
    );
    await expect(prepare('kinetics600', { ...options, seed: 1 })).rejects.toEqual(
      coded('ERR_ARGUMENT', /not both/),
    );
    await expect(prepare('kinetics400', options)).rejects.toEqual(
      coded('ERR_ARGUMENT', /not of kinetics400/),
    );
  });
});

test.each([
  ['kinetics700', {}, /dataset must be one of kinetics400, .*, got "kinetics700"/],
  ['ucf101', { zeroShotClasses: 5 }, /zero-shot splits are made of kinetics600, not of ucf101/],
  ['hmdb51', { seed: 1 }, /zero-shot splits are made of kinetics600/],
  ['kinetics600', { zeroShotClasses: 0 }, /zeroShotClasses must be a whole number of at least 1/],
  ['kinetics600', { seed: 0.5 }, /seed must be a whole number/],
  ['kinetics600', { zeroShotVideos: 'train' }, /zeroShotVideos must be val or test/],
  ['kinetics400', { output: undefined }, /output must be a text/],
])('refuses %s with %j, before anything is looked at', async (dataset, options, message) => {
  const run = prepare(dataset as PrepareOptions['dataset'], options as Partial<PrepareOptions>);
  await expect(run).rejects.toEqual(coded('ERR_ARGUMENT', message));
});

test('an abort ends the search through the folders of the root, and no list is written', async () => {
  for (const split of [1, 2, 3]) {
    const video = 'AirDrumming/v_AirDrumming_g01_c01.avi';
    put(`annotations/trainlist0${split}.txt`, `${video} 1\n`);
    put(`annotations/testlist0${split}.txt`, `${video}\n`);
  }
  put('labels_one.csv', 'id,name\n0,air drumming\n');
  put('videos/AirDrumming/v_AirDrumming_g01_c01.avi');
  const options = { labels: join(folder, 'labels_one.csv') };
  const signal = AbortSignal.abort();
  await expect(prepare('ucf101', { ...options, signal })).rejects.toEqual(
    coded('ERR_ABORTED', /listing the files/),
  );
  expect(existsSync(join(folder, 'lists'))).toBe(false);
  expect(await prepare('ucf101', options)).toHaveLength(6);
});

test('the splits that a seed draws stay what they are', () => {
  const candidates = [3, 5, 8, 13, 21, 34, 55, 89];
  expect(drawSplits({ candidates, classesPerSplit: 3, splits: 3, seed: 0 })).toEqual([
    [5, 34, 55],
    [34, 55, 89],
    [3, 8, 55],
  ]);
});

test('of the shipped tables 220 classes are new, and every renaming names two real classes', () => {
  const table = (name: string) => new ClassTable(readLabels(`labels/${name}_labels.csv`), name);
  const [old, all] = [table('kinetics_400'), table('kinetics_600')];
  expect(newClasses(all, old)).toHaveLength(220);
  for (const [now, then] of Object.entries(renamedClasses)) {
    expect([all.names.includes(now), old.names.includes(then)]).toEqual([true, true]);
  }
  // As in the splits that were published with the protocol.
  const isNew = (name: string) => newClasses(all, old).includes(all.names.indexOf(name));
  expect(['preparing salad', 'hugging baby', 'spelunking', 'waking up', 'dyeing hair'].map(isNew)).toEqual([
    ...[true, true, true, false, false],
  ]);
});

test('UCF101: three splits, classes by folder', async () => {
  put('ucf.csv', 'id,name\n0,ApplyEyeMakeup\n1,YoYo\n');
  for (const n of [1, 2, 3]) {
    put(
      `annotations/trainlist0${n}.txt`,
      `ApplyEyeMakeup/v_A_g0${n}_c01.avi 1\r\nYoYo/v_Y_g0${n}_c01.avi 2\r\n`,
    );
    put(`annotations/testlist0${n}.txt`, `ApplyEyeMakeup/v_A_g09_c0${n}.avi\nYoYo/v_Y_g09_c0${n}.avi\n`);
    for (const name of [`v_A_g0${n}_c01`, `v_Y_g0${n}_c01`, `v_A_g09_c0${n}`]) put(`videos/${name}.avi`);
  }
  const options = { labels: join(folder, 'ucf.csv') };
  const summaries = await prepare('ucf101', options);
  expect(summaries.map(({ videos, missing }) => [videos, missing])).toEqual(
    [2, 1, 2, 1, 2, 1].map((n) => [n, 2 - n]),
  );
  expect(list('train_split2.txt')).toBe('v_A_g02_c01.avi 0\nv_Y_g02_c01.avi 1\n');
  expect(list('val_split3.txt')).toBe('v_A_g09_c03.avi 0\n');
  expect(list('missing.txt')).toBe('YoYo/v_Y_g09_c01.avi\nYoYo/v_Y_g09_c02.avi\nYoYo/v_Y_g09_c03.avi\n');
  put('annotations/testlist03.txt', 'v_A.avi\n');
  await expect(prepare('ucf101', options)).rejects.toEqual(
    coded('ERR_LIST_FORMAT', /testlist03\.txt:1: expected "Class/),
  );
  rmSync(join(folder, 'annotations/testlist03.txt'));
  await expect(prepare('ucf101', options)).rejects.toEqual(coded('ERR_FILE_NOT_FOUND', /^testlist03\.txt/));
});

test('HMDB51: 1 is training, 2 is test, 0 is neither; names with blanks', async () => {
  put('hmdb.csv', 'id,name\n0,brush hair\n1,cartwheel\n');
  const options = { labels: join(folder, 'hmdb.csv') };
  for (const n of [1, 2, 3]) {
    put(`annotations/brush_hair_test_split${n}.txt`, 'a (1) b.avi 1 \na2.avi 2 \na3.avi 0 \n');
    put(`annotations/cartwheel_test_split${n}.txt`, `c${n}.avi 1\nc9.avi 2\n`);
    put(`videos/cartwheel/c${n}.avi`);
  }
  for (const name of ['brush_hair/a (1) b', 'brush_hair/a2', 'brush_hair/a3', 'cartwheel/c9'])
    put(`videos/${name}.avi`);
  await prepare('hmdb51', options);
  expect(list('train_split3.txt')).toBe('brush_hair/a (1) b.avi 0\ncartwheel/c3.avi 1\n');
  expect(list('val_split1.txt')).toBe('brush_hair/a2.avi 0\ncartwheel/c9.avi 1\n');
  put('annotations/cartwheel_test_split2.txt', 'c2.avi 7\n');
  await expect(prepare('hmdb51', options)).rejects.toEqual(
    coded('ERR_LIST_FORMAT', /cartwheel_test_split2\.txt:1/),
  );
  rmSync(join(folder, 'annotations/cartwheel_test_split2.txt'));
  await expect(prepare('hmdb51', options)).rejects.toEqual(
    coded('ERR_LABELS', /split2\.txt: 1 classes.*: cartwheel/),
  );
});
