import { CodedError } from '../base/error';
import { nearestName } from '../base/nearest';
import { isField, isOptional, type OptionalSection, Refusal, type Section } from './fields';
import { readLiteral } from './literal';
import { type Config, SCHEMA } from './schema';

type Entry = Section[string];
type Values = { [key: string]: unknown };

/** Collects values over the defaults, checking each against the schema as it arrives. */
export class ConfigBuilder {
  private readonly values = defaultsOf(SCHEMA);
  /** Where each value that is not a default came from. */
  private readonly origins = new Map<string, string>();

  /** True when `key` names a group of values. */
  isSection(key: string): boolean {
    const entry = find(key);
    return entry !== undefined && !isField(entry);
  }

  /** Sets a value that may be written as a Python literal: texts are read as one unless the key holds texts. */
  setLiteral(key: string, value: unknown, where: string): void {
    const entry = find(key);
    const isText = entry && isField(entry) && entry.isText;
    if (typeof value !== 'string') this.set(key, value, where);
    else if (!isText) this.set(key, readLiteral(value), where);
    else this.set(key, value === 'None' && isNullable(entry) ? null : value, where);
  }

  /** @param where file and line, or option, for messages */
  set(key: string, value: unknown, where: string): void {
    const accepted = this.check(key, value, where);
    const parts = key.split('.');
    const name = parts.pop()!;
    let target = this.values;
    let schema: Section = SCHEMA;
    for (const part of parts) {
      const entry = schema[part]!;
      schema = sectionOf(entry);
      target[part] ??= defaultsOf(schema);
      target = target[part] as Values;
    }
    target[name] = accepted;
    this.origins.set(key, where);
  }

  /** The value as the schema takes it. @throws ERR_CONFIG_KEY, ERR_CONFIG_TYPE, ERR_CONFIG_VALUE */
  check(key: string, value: unknown, where: string): unknown {
    const entry = find(key);
    if (entry === undefined) {
      const nearest = nearestName(key, keysOf(SCHEMA));
      const hint = nearest
        ? `; did you mean ${nearest}?`
        : `; sections are ${Object.keys(SCHEMA).join(', ')}`;
      throw new CodedError('ERR_CONFIG_KEY', `${where}: unknown key ${key}${hint}`);
    }
    if (isField(entry)) {
      const accepted = entry.accept(value);
      if (!(accepted instanceof Refusal)) return accepted;
      const code = accepted.reason === 'type' ? 'ERR_CONFIG_TYPE' : 'ERR_CONFIG_VALUE';
      throw new CodedError(code, `${where}: ${key} must be ${accepted.expected}, got ${show(value)}`);
    }
    if (isOptional(entry) && value === null) return null;
    if (typeof value === 'object' && value !== null && !Array.isArray(value)) {
      const given = Object.entries(value).map(([name, item]) => [
        name,
        this.check(`${key}.${name}`, item, where),
      ]);
      return { ...defaultsOf(sectionOf(entry)), ...Object.fromEntries(given) };
    }
    throw new CodedError(
      'ERR_CONFIG_TYPE',
      `${where}: ${key} is a section (${Object.keys(sectionOf(entry)).join(', ')}), got ${show(value)}`,
    );
  }

  /** The configuration, after the checks that take several values. @throws ERR_CONFIG_VALUE */
  finish(): Config {
    const config = this.values as unknown as Config;
    const refuse = (key: string, problem: string): never => {
      throw new CodedError('ERR_CONFIG_VALUE', `${this.origins.get(key) ?? 'defaults'}: ${key} ${problem}`);
    };
    const { ARCH, CUSTOM } = config.MODEL;
    if (ARCH === 'custom' && CUSTOM === null)
      refuse('MODEL.ARCH', 'is custom, but MODEL.CUSTOM gives no geometry');
    if (ARCH !== 'custom' && CUSTOM !== null) {
      refuse('MODEL.ARCH', `is ${ARCH}, but MODEL.CUSTOM gives a geometry, which only counts for custom`);
    }
    if (config.TEST.NUM_CROP === 2)
      refuse('TEST.NUM_CROP', 'must be 1 (centre) or 3 (left, right, middle), got 2');
    if (CUSTOM && config.DATA.INPUT_SIZE % CUSTOM.patch !== 0) {
      refuse(
        'DATA.INPUT_SIZE',
        `must be a multiple of MODEL.CUSTOM.patch ${CUSTOM.patch}, got ${config.DATA.INPUT_SIZE}`,
      );
    }
    return deepFreeze(config);
  }
}

/** The part of the schema that a dotted key names. */
function find(key: string): Entry | undefined {
  let entry: Entry = SCHEMA;
  for (const part of key.split('.')) {
    if (isField(entry)) return undefined;
    const section = sectionOf(entry);
    if (!Object.hasOwn(section, part)) return undefined;
    entry = section[part]!;
  }
  return entry;
}

function sectionOf(entry: Entry): Section {
  return isOptional(entry) ? (entry as OptionalSection<Section>).fields : (entry as Section);
}

function isNullable(entry: Entry): boolean {
  return isField(entry) && !(entry.accept(null) instanceof Refusal);
}

function defaultsOf(section: Section): Values {
  const pairs = Object.entries(section).map(([key, entry]) => {
    if (isField(entry)) return [key, entry.default];
    return [key, isOptional(entry) ? null : defaultsOf(entry as Section)];
  });
  return Object.fromEntries(pairs);
}

function keysOf(section: Section, prefix = ''): string[] {
  return Object.entries(section).flatMap(([key, entry]) =>
    isField(entry) ? [prefix + key] : [prefix + key, ...keysOf(sectionOf(entry), `${prefix}${key}.`)],
  );
}

function show(value: unknown): string {
  const text = JSON.stringify(value) ?? String(value);
  return text.length > 60 ? `${text.slice(0, 60)}…` : text;
}

function deepFreeze<T>(value: T): T {
  if (typeof value === 'object' && value !== null) {
    Object.values(value).forEach(deepFreeze);
    Object.freeze(value);
  }
  return value;
}
