import { readFileSync } from 'node:fs';
import path from 'node:path';
import { beforeEach, expect, test, vi } from 'vitest';

vi.stubGlobal('localStorage', { getItem: () => null, setItem: () => {} });
vi.stubGlobal('navigator', { language: 'en' });
vi.stubGlobal('document', { documentElement: { dataset: {}, lang: 'en' } });
const { prefer } = await import('../src/preferences.ts');
const format = await import('../src/format.ts');
const { csv } = await import('../src/parts/Text.tsx');
const { da } = await import('../src/texts/da.ts');
const { en } = await import('../src/texts/en.ts');
const { REASONS } = await import('../src/texts/reasons.ts');
const { reasonWords } = await import('../src/parts/Feed.tsx');

const plain = (text: string): string => text.replaceAll('\u00a0', ' ');
beforeEach(() => prefer({ language: 'en', zone: 'utc' }));

test('what is unknown is a dash and never 0', () => {
  for (const say of [format.count, format.rate, format.ratio, format.evidence, format.latency, format.money]) {
    expect(say(null)).toBe('–');
    expect(say(undefined)).toBe('–');
    expect(say(Number.NaN)).toBe('–');
  }
});

test('numbers are as the design says', () => {
  expect(format.count(4144)).toBe('4,144');
  expect(plain(format.count(1_240_000))).toBe('1.24 M');
  expect(plain(format.rate(0.0191))).toBe('1.91 %');
  expect(plain(format.rate(0.12))).toBe('12 %');
  expect(plain(format.rate(0.00034))).toBe('0.034 %');
  expect(plain(format.rate(0))).toBe('0 %');
  expect(format.ratio(2.14)).toBe('2.1×');
  expect(format.margin(1.25)).toBe('1.25×');
  expect(format.evidence(7.21)).toBe('7.2');
  expect(format.evidence(1e9)).toBe('> 1,000,000');
  expect(plain(format.latency(410))).toBe('410 ms');
  expect(plain(format.latency(1180))).toBe('1.18 s');
  expect(format.money(420_000)).toBe('$0.42');
  expect(format.money(400)).toBe('$0.0004');
  expect(plain(format.duration(34 * 36e5 + 15 * 6e4))).toBe('1 d 10 h');
  expect(plain(format.duration(59_400))).toBe('59 s');
});

test('Danish has a decimal comma', () => {
  prefer({ language: 'da' });
  expect(plain(format.rate(0.0191))).toBe('1,91 %');
  expect(format.count(4144)).toBe('4.144');
});

test('what a plan calls a time is read', () => {
  expect(format.planned('2days')).toBe(2 * 864e5);
  expect(format.planned('48h')).toBe(48 * 36e5);
  expect(format.planned('1h 30m')).toBe(90 * 6e4);
  expect(format.planned('1m 30s')).toBe(90_000);
  expect(format.planned('500ms')).toBe(500);
  expect(format.planned('soon')).toBeNull();
});

test('the doubled hour of autumn is told apart', () => {
  prefer({ zone: 'local' });
  vi.stubEnv('TZ', 'Europe/Copenhagen');
  const before = format.absolute(new Date('2026-10-25T00:30:00Z'));
  const after = format.absolute(new Date('2026-10-25T01:30:00Z'));
  expect(before).not.toBe(after);
  vi.unstubAllEnvs();
});

test('CSV quotes what has to be, tells UTC, and holds no formula', () => {
  expect(csv(['a'], [['x,"y"'], ['=1+1'], [new Date(0)], [null], [-3]])).toBe('a\r\n"x,""y"""\r\n\'=1+1\r\n1970-01-01T00:00:00.000Z\r\n\r\n-3\r\n');
});

test('reasons that are translated are those that the controller writes', () => {
  const written = ['decision.rs', 'rollout/by_itself.rs', 'words.rs'].map((file) => readFileSync(path.join(import.meta.dirname, '../../server/rollout', file), 'utf8')).join('');
  for (const reason of Object.keys(REASONS.da!)) expect(written).toContain(`"${reason}"`);
});

test('a reason of the controller is in the page’s language, and one that somebody wrote stays', () => {
  prefer({ language: 'da' });
  expect(reasonWords('evidence is at the level watch')).toBe('evidensen er på niveauet under observation');
  expect(reasonWords('the stage is over, and evidence is inconclusive: E is 3')).toBe('trinnet er forbi, og evidensen afgør intet: E is 3');
  expect(reasonWords('no requests come from my phone')).toBe('no requests come from my phone');
  prefer({ language: 'en' });
  expect(reasonWords('no requests come')).toBe('no requests come');
});

test('a name that turns the direction of writing does not turn the role beside it', () => {
  expect(en.shell.signedInAs('\u202Enimda', 'viewer')).toBe('\u2068\u202Enimda\u2069 · viewer');
  expect(da.shell.signedInAs('\u202Enimda', 'viewer')).toBe('\u2068\u202Enimda\u2069 · viewer');
});

test('a browser that does not know light-dark() gets every colour of the light theme', () => {
  const css = readFileSync(path.join(import.meta.dirname, '../src/styles/tokens.css'), 'utf8');
  const [, without] = css.split('@supports not');
  const light = [...css.matchAll(/(--[\w-]+): light-dark\((rgb\([^)]*\)|[^,]+),/g)];
  expect(light.length).toBeGreaterThan(15);
  for (const [, name, colour] of light) expect(without).toContain(`${name}: ${colour};`);
});

test('the Danish texts are Danish', () => {
  // The compiler sees to the keys; this, that no sentence was left as it was.
  const leaves = (value: unknown): unknown[] => (typeof value === 'object' && value !== null ? Object.values(value).flatMap(leaves) : [value]);
  const [danish, english] = [leaves(da), leaves(en)];
  expect(danish.length).toBe(english.length);
  const same = danish.filter((text, place) => typeof text === 'string' && text === english[place] && text.split(' ').length > 3 && !text.startsWith('modelramp '));
  expect(same).toEqual([]);
});

test('how many outages are waited for depends on the edition of the tests and on control, so no number of them is named', () => {
  for (const words of [en, da].map((texts) => texts.level.next.outage)) expect(words).not.toMatch(/\b(second|third|fourth|fifth|andet|tredje|fjerde|femte)\b|\d/);
});
