import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { configToYaml, loadConfig } from '../../lib/config/load';

const folder = mkdtempSync(join(tmpdir(), 'config-'));
afterAll(() => rmSync(folder, { recursive: true }));

/** Writes a file and returns its path. */
function write(name: string, content: string): string {
  const path = join(folder, name);
  mkdirSync(dirname(path), { recursive: true });
  writeFileSync(path, content);
  return path;
}

const failure = (code: string, ...parts: string[]) =>
  expect.objectContaining({
    code,
    message: expect.stringMatching(new RegExp(parts.map(quoted).join('.*'), 's')),
  });
const quoted = (part: string) => part.replace(/[.*+?^${}()|[\]\\]/g, '\\$&');

describe('defaults', () => {
  test('are the official ones, and ours change nothing', () => {
    expect(loadConfig()).toEqual({
      BASE: [''],
      DATA: {
        ROOT: '',
        TRAIN_FILE: '',
        VAL_FILE: '',
        DATASET: 'kinetics400',
        INPUT_SIZE: 224,
        NUM_FRAMES: 8,
        NUM_CLASSES: 400,
        LABEL_LIST: 'labels/kinetics_400_labels.csv',
        NUM_WORKERS: 2,
        ON_ERROR: 'fail',
        MAX_BAD_SHARE: 0.5,
        DEADLINE: 60,
        SAMPLING: 'official',
      },
      MODEL: {
        ARCH: 'ViT-B/32',
        DROP_PATH_RATE: 0,
        PRETRAINED: null,
        RESUME: null,
        FIX_TEXT: true,
        DEVICE: 'auto',
        CUSTOM: null,
      },
      TRAIN: {
        EPOCHS: 30,
        WARMUP_EPOCHS: 5,
        WEIGHT_DECAY: 0.001,
        LR: 8e-6,
        BATCH_SIZE: 8,
        ACCUMULATION_STEPS: 1,
        LR_SCHEDULER: 'cosine',
        OPTIMIZER: 'adamw',
        OPT_LEVEL: 'O1',
        AMP_DTYPE: 'bfloat16',
        FLOAT32_MATMUL: 'highest',
        AUTO_RESUME: false,
        USE_CHECKPOINT: false,
        CLIP_GRAD: 0,
        BETAS: [0.9, 0.98],
        TEXT_LR_SCALE: 1,
        TEXT_LR_RAMP: false,
        CUDA_GRAPH: true,
        LR_SCALE_NEW: 10,
      },
      AUG: {
        LABEL_SMOOTH: 0.1,
        COLOR_JITTER: 0.8,
        GRAY_SCALE: 0.2,
        MIXUP: 0.8,
        CUTMIX: 1,
        MIXUP_SWITCH_PROB: 0.5,
        FLIP: 0.5,
        MULTI_SCALE_CROP: true,
        SHIFT: 0,
      },
      TEST: {
        NUM_CLIP: 1,
        NUM_CROP: 1,
        ONLY_TEST: false,
        BATCH_SIZE: 2,
        REFERENCE_SAMPLING: false,
        CUDA_GRAPH: true,
        FRAME_ORDER: 'forward',
      },
      OUTPUT: '',
      SAVE_FREQ: 1,
      PRINT_FREQ: 50,
      SEED: 1024,
    });
  });

  test('are not touched by a configuration, which is frozen', () => {
    const config = loadConfig({ opts: ['TRAIN.EPOCHS', '3', 'TRAIN.BETAS', '[0.5, 0.6]'] });
    expect(() => {
      (config.TRAIN as { EPOCHS: number }).EPOCHS = 4;
    }).toThrow(TypeError);
    expect(Object.isFrozen(config.TRAIN.BETAS)).toBe(true);
    expect(loadConfig().TRAIN).toMatchObject({ EPOCHS: 30, BETAS: [0.9, 0.98] });
  });
});

describe('files', () => {
  test('read Python literals as the reference does', () => {
    const cfg = write(
      'python.yaml',
      'MODEL:\n  PRETRAINED: None\n  RESUME: x.pth\n  FIX_TEXT: False\nTRAIN:\n  LR: 2.e-6\n  WEIGHT_DECAY: "1e-3"\n' +
        '  BETAS: (0.8, 0.9)\nAUG:\n  MIXUP: 1\n',
    );
    const config = loadConfig({ cfg });
    expect(config.MODEL).toMatchObject({ PRETRAINED: null, RESUME: 'x.pth', FIX_TEXT: false });
    expect(config.TRAIN).toMatchObject({ LR: 2e-6, WEIGHT_DECAY: 0.001, BETAS: [0.8, 0.9] });
    expect(config.AUG.MIXUP).toBe(1);
  });

  test('build on their BASE, relative to themselves, in order', () => {
    write('base/a.yaml', 'TRAIN:\n  EPOCHS: 1\n  BATCH_SIZE: 1\n  LR: 1.0\n');
    write('base/b.yaml', 'BASE: ["a.yaml"]\nTRAIN:\n  BATCH_SIZE: 2\n  LR: 2.0\n');
    write('c.yaml', 'TRAIN:\n  LR: 3.0\n');
    const cfg = write('top.yaml', "SEED: 7\nBASE: ['', base/b.yaml, c.yaml]\n");
    const config = loadConfig({ cfg });
    expect(config.TRAIN).toMatchObject({ EPOCHS: 1, BATCH_SIZE: 2, LR: 3 });
    expect(config).toMatchObject({ SEED: 7, BASE: [''] });
  });

  test('may be empty', () =>
    expect(loadConfig({ cfg: write('empty.yaml', '# nothing\n') })).toEqual(loadConfig()));

  test('with a circular BASE are refused', () => {
    write('one.yaml', 'BASE: [two.yaml]\n');
    const cfg = write('two.yaml', 'BASE: [one.yaml]\n');
    expect(() => loadConfig({ cfg })).toThrow(
      failure('ERR_CONFIG_SYNTAX', 'two.yaml', 'one.yaml', 'two.yaml'),
    );
  });

  test.each([
    [
      'unknown key',
      'TRAIN:\n  LR: 1.0\n  EPOCH: 3\n',
      'ERR_CONFIG_KEY',
      ['bad.yaml:3', 'TRAIN.EPOCH', 'TRAIN.EPOCHS?'],
    ],
    ['key in the wrong section', 'LR: 1.0\n', 'ERR_CONFIG_KEY', ['bad.yaml:1', 'LR', 'TRAIN.LR?']],
    ['prototype key', 'TRAIN:\n  __proto__: 3\n', 'ERR_CONFIG_KEY', ['bad.yaml:2', '__proto__']],
    [
      'text for a number',
      'DATA:\n  NUM_FRAMES: many\n',
      'ERR_CONFIG_TYPE',
      ['bad.yaml:2', 'DATA.NUM_FRAMES', '"many"'],
    ],
    ['fraction for an integer', 'SEED: 1.5\n', 'ERR_CONFIG_TYPE', ['bad.yaml:1', 'SEED', 'an integer']],
    ['number for a text', 'DATA:\n  ROOT: 5\n', 'ERR_CONFIG_TYPE', ['bad.yaml:2', 'DATA.ROOT', 'a text']],
    ['null for a number', 'TRAIN:\n  LR:\n', 'ERR_CONFIG_TYPE', ['bad.yaml:2', 'TRAIN.LR', 'null']],
    ['value for a section', 'TRAIN: 3\n', 'ERR_CONFIG_TYPE', ['bad.yaml:1', 'TRAIN is a section (EPOCHS']],
    ['section for a value', 'SEED:\n  X: 3\n', 'ERR_CONFIG_TYPE', ['bad.yaml:1', 'SEED']],
    ['negative epochs', 'TRAIN:\n  EPOCHS: -1\n', 'ERR_CONFIG_VALUE', ['bad.yaml:2', 'at least 1, got -1']],
    [
      'unknown architecture',
      'MODEL:\n  ARCH: ViT-B/64\n',
      'ERR_CONFIG_VALUE',
      ['bad.yaml:2', 'ViT-L/14@336px', 'ViT-B/64'],
    ],
    ['three betas', 'TRAIN:\n  BETAS: [0.1, 0.2, 0.3]\n', 'ERR_CONFIG_VALUE', ['bad.yaml:2', 'a list of 2']],
    ['text BASE', 'BASE: a.yaml\n', 'ERR_CONFIG_TYPE', ['bad.yaml:1', 'BASE must be a list']],
    ['duplicate key', 'SEED: 1\nSEED: 2\n', 'ERR_CONFIG_SYNTAX', ['bad.yaml:2', 'unique']],
    ['no mapping', '- 1\n- 2\n', 'ERR_CONFIG_SYNTAX', ['bad.yaml']],
    ['broken YAML', 'TRAIN:\n  BETAS: [1, 2\n', 'ERR_CONFIG_SYNTAX', ['bad.yaml:']],
    ['unknown alias', 'TRAIN: *nothing\n', 'ERR_CONFIG_SYNTAX', ['bad.yaml', 'nothing']],
  ])('with %s are refused', (_, content, code, parts) => {
    expect(() => loadConfig({ cfg: write('bad.yaml', content) })).toThrow(failure(code, ...parts));
  });

  test('that are not YAML are refused in one line, which names the place once', () => {
    const text = 'SEED: 1\nTAG x\n';
    expect(() => loadConfig({ cfg: write('bad.yaml', text) })).toThrow(
      /bad\.yaml:2: not valid YAML: Implicit map keys need to be followed by map values$/,
    );
  });

  test('may name a value and use it again, but not without end', () => {
    const { TRAIN } = loadConfig({ cfg: write('alias.yaml', 'TRAIN:\n  EPOCHS: &n 3\n  BATCH_SIZE: *n\n') });
    expect(TRAIN).toMatchObject({ EPOCHS: 3, BATCH_SIZE: 3 });
    const nine = (name: string, of: string) => `    - &${name} [${Array(9).fill(of)}]\n`;
    const bomb = ['a', 'b', 'c', 'd'].map((name, i) => nine(name, i === 0 ? 'x' : `*${'abc'[i - 1]}`));
    const cfg = write('bad.yaml', `TRAIN:\n  BETAS:\n${bomb.join('')}`);
    expect(() => loadConfig({ cfg })).toThrow(failure('ERR_CONFIG_SYNTAX', 'bad.yaml', 'alias'));
  });

  test('that do not exist are named, with the file that asks for them', () => {
    expect(() => loadConfig({ cfg: 'no/such.yaml' })).toThrow(failure('ERR_FILE_NOT_FOUND', 'no/such.yaml'));
    const cfg = write('asks.yaml', 'BASE: [gone.yaml]\n');
    expect(() => loadConfig({ cfg })).toThrow(
      failure('ERR_FILE_NOT_FOUND', 'gone.yaml (BASE of', 'asks.yaml)'),
    );
    expect(() => loadConfig({ cfg: folder })).toThrow(failure('ERR_FILE_READ', folder));
  });
});

describe('opts and flags', () => {
  test('opts go over the file, flags over opts', () => {
    const cfg = write('some.yaml', 'TRAIN:\n  BATCH_SIZE: 2\n  EPOCHS: 2\nOUTPUT: file\n');
    const config = loadConfig({
      cfg,
      opts: ['TRAIN.BATCH_SIZE', '3', 'OUTPUT', '2022', 'MODEL.PRETRAINED', 'None', 'DATA.ROOT', 'None'],
      flags: { batchSize: 4, accumulationSteps: 5, resume: 'r.pth', onlyTest: true },
    });
    expect(config.TRAIN).toMatchObject({ BATCH_SIZE: 4, EPOCHS: 2, ACCUMULATION_STEPS: 5 });
    expect(config.MODEL).toMatchObject({ PRETRAINED: null, RESUME: 'r.pth' });
    expect(config).toMatchObject({ OUTPUT: '2022', TEST: { ONLY_TEST: true }, DATA: { ROOT: 'None' } });
    const { MODEL, OUTPUT, SEED, TEST } = loadConfig({
      flags: { pretrained: 'p.pt', output: 'o', referenceSampling: true, device: 'cpu', seed: 3 },
    });
    expect([MODEL.DEVICE, SEED]).toEqual(['cpu', 3]);
    expect([MODEL.PRETRAINED, OUTPUT, TEST.REFERENCE_SAMPLING]).toEqual(['p.pt', 'o', true]);
  });

  test.each(['None', 'null', 'Null', 'NULL', '~'])('%s is no value', (word) => {
    expect(loadConfig({ opts: ['MODEL.CUSTOM', word] }).MODEL.CUSTOM).toBeNull();
  });

  test('an empty text is no file', () => {
    const { MODEL } = loadConfig({ opts: ['MODEL.PRETRAINED', ''], flags: { resume: '' } });
    expect(MODEL).toMatchObject({ PRETRAINED: null, RESUME: null });
  });

  test.each([
    [['TRAIN.LR', '1e-4'], (c: ReturnType<typeof loadConfig>) => c.TRAIN.LR, 1e-4],
    [['TRAIN.LR', '1'], (c: ReturnType<typeof loadConfig>) => c.TRAIN.LR, 1],
    [['MODEL.FIX_TEXT', 'False'], (c: ReturnType<typeof loadConfig>) => c.MODEL.FIX_TEXT, false],
    [['TRAIN.BETAS', '(0.9,0.999)'], (c: ReturnType<typeof loadConfig>) => c.TRAIN.BETAS, [0.9, 0.999]],
    [['TRAIN.BETAS', '(0.9,\n 0.999)'], (c: ReturnType<typeof loadConfig>) => c.TRAIN.BETAS, [0.9, 0.999]],
    [['AUG.FLIP', '1'], (c: ReturnType<typeof loadConfig>) => c.AUG.FLIP, 1],
    [['MODEL.ARCH', 'ViT-L/14@336px'], (c: ReturnType<typeof loadConfig>) => c.MODEL.ARCH, 'ViT-L/14@336px'],
    [['MODEL.DEVICE', 'cuda:1'], (c: ReturnType<typeof loadConfig>) => c.MODEL.DEVICE, 'cuda:1'],
  ])('%j', (opts, read, expected) => expect(read(loadConfig({ opts }))).toEqual(expected));

  test.each([
    [['TRAIN.EPOCHS'], 'ERR_USAGE', 'TRAIN.EPOCHS'],
    [['TRAIN.EPOCHS', '1.5'], 'ERR_CONFIG_TYPE', '--opts: TRAIN.EPOCHS'],
    [['MODEL.FIX_TEXT', '1'], 'ERR_CONFIG_TYPE', 'true or false'],
    [['TRAIN.LR', 'None'], 'ERR_CONFIG_TYPE', '--opts: TRAIN.LR'],
    [['TRAIN', 'None'], 'ERR_CONFIG_TYPE', 'TRAIN is a section'],
    [['TRAIN.LR', '1e999'], 'ERR_CONFIG_TYPE', 'a number'],
    [['train.epochs', '3'], 'ERR_CONFIG_KEY', 'TRAIN.EPOCHS?'],
    [['TRAIN.LR.X', '3'], 'ERR_CONFIG_KEY', 'TRAIN.LR.X'],
    [['BASE', 'x.yaml'], 'ERR_CONFIG_KEY', '-cfg'],
    [['TEST.NUM_CROP', '2'], 'ERR_CONFIG_VALUE', '--opts: TEST.NUM_CROP'],
    [['TRAIN.OPT_LEVEL', 'O3'], 'ERR_CONFIG_VALUE', 'O0, O1'],
    [['DATA.NUM_FRAMES', '0'], 'ERR_CONFIG_VALUE', 'at least 1'],
    [['AUG.FLIP', '1.5'], 'ERR_CONFIG_VALUE', 'at most 1'],
    [['MODEL.DEVICE', 'tpu'], 'ERR_CONFIG_VALUE', 'cuda:N'],
    [['PRINT_FREQ', '0'], 'ERR_CONFIG_VALUE', 'at least 1'],
    [['DATA.DEADLINE', '86401'], 'ERR_CONFIG_VALUE', 'at most 86400'],
    [['DATA.MAX_BAD_SHARE', '1'], 'ERR_CONFIG_VALUE', 'below 1'],
    [['TRAIN.BETAS', '[0.9, 1]'], 'ERR_CONFIG_VALUE', 'a list of 2, each a number, at least 0, below 1'],
    [['DATA.NUM_FRAMES', 'x'.repeat(1000)], 'ERR_CONFIG_TYPE', `"${'x'.repeat(59)}…`],
    [['NOTHING_LIKE_IT', '1'], 'ERR_CONFIG_KEY', 'sections are BASE, DATA, MODEL'],
  ])('%j is refused', (opts, code, part) => {
    expect(() => loadConfig({ opts })).toThrow(failure(code, part));
  });

  test('a flag is named as the user typed it', () => {
    expect(() => loadConfig({ flags: { batchSize: 0 } })).toThrow(
      failure('ERR_CONFIG_VALUE', '--batch-size'),
    );
    expect(() => loadConfig({ flags: { device: 'gpu' } })).toThrow(
      failure('ERR_CONFIG_VALUE', '--device: MODEL.DEVICE'),
    );
    expect(() => loadConfig({ flags: { seed: -1 } })).toThrow(failure('ERR_CONFIG_VALUE', '--seed: SEED'));
  });
});

describe('MODEL.CUSTOM', () => {
  test('fills up with defaults, from files and opts alike', () => {
    const cfg = write(
      'custom.yaml',
      'MODEL:\n  ARCH: custom\n  CUSTOM:\n    patch: 8\n    vision_width: 64\n',
    );
    const { CUSTOM } = loadConfig({ cfg, opts: ['MODEL.CUSTOM.text_layers', '2'] }).MODEL;
    expect(CUSTOM).toMatchObject({
      patch: 8,
      vision_width: 64,
      text_layers: 2,
      vision_layers: 12,
      vocab_size: 49408,
    });
    const whole = loadConfig({
      opts: ['MODEL.ARCH', 'custom', 'MODEL.CUSTOM', '{patch: 8, embed_dim: 128}'],
    });
    expect(whole.MODEL.CUSTOM).toMatchObject({ patch: 8, embed_dim: 128, text_width: 512 });
  });

  test.each([
    [['MODEL.ARCH', 'custom'], 'ERR_CONFIG_VALUE', 'no geometry'],
    [['MODEL.CUSTOM.patch', '8'], 'ERR_CONFIG_VALUE', 'only counts for custom'],
    [
      ['MODEL.ARCH', 'custom', 'MODEL.CUSTOM.patch', '9'],
      'ERR_CONFIG_VALUE',
      'multiple of MODEL.CUSTOM.patch',
    ],
    [['MODEL.CUSTOM.vision_width', '100'], 'ERR_CONFIG_VALUE', 'a multiple of 64'],
    [['MODEL.CUSTOM', '{width: 8}'], 'ERR_CONFIG_KEY', 'MODEL.CUSTOM.width'],
  ])('%j is refused', (opts, code, part) => {
    expect(() => loadConfig({ opts })).toThrow(failure(code, part));
  });
});

test('configToYaml gives back the same configuration', () => {
  const opts = [
    'MODEL.ARCH',
    'custom',
    'MODEL.CUSTOM.patch',
    '16',
    'TRAIN.LR',
    '2e-6',
    'DATA.ROOT',
    'a: b #c',
    'OUTPUT',
    'None',
  ];
  const config = loadConfig({ opts });
  expect(loadConfig({ cfg: write('copy.yaml', configToYaml(config)) })).toEqual(config);
});
