// Numbers and times as people read them, in the language and the zone that were chosen. A number and its unit are joined
// by a no-break space. Nothing that is unknown becomes 0: it is "–".
import { preferences } from './preferences.ts';

const NBSP = '\u00a0';
export const UNKNOWN = '–';

const locale = (): string => (preferences().language === 'da' ? 'da-DK' : 'en-GB');
const zone = (): string | undefined => (preferences().zone === 'utc' ? 'UTC' : undefined);

const cache = new Map<string, Intl.NumberFormat>();
function decimal(value: number, options: Intl.NumberFormatOptions): string {
  const key = locale() + JSON.stringify(options);
  let format = cache.get(key);
  if (!format) {
    format = new Intl.NumberFormat(locale(), options);
    cache.set(key, format);
  }
  return format.format(value);
}

const fixed = (value: number, digits: number): string =>
  decimal(value, { minimumFractionDigits: digits, maximumFractionDigits: digits });

/** `4,144`; from a million on `1.24 M`. */
export function count(value: number | null | undefined): string {
  if (value == null || !Number.isFinite(value)) return UNKNOWN;
  if (value >= 1e6) return `${fixed(value / 1e6, 2)}${NBSP}M`;
  return decimal(value, { maximumFractionDigits: 0 });
}

/** A share as it was set: `50 %`, `12.5 %`. */
export const share = (percent: number): string => `${decimal(percent, { maximumFractionDigits: 3 })}${NBSP}%`;

/** A rate, 0 to 1: `1.91 %`, `0.034 %`; whole from 10 % on. */
export function rate(value: number | null | undefined): string {
  if (value == null || !Number.isFinite(value)) return UNKNOWN;
  const percent = value * 100;
  if (percent === 0) return `0${NBSP}%`;
  const text = percent >= 10 ? fixed(percent, 0) : percent < 0.1 ? decimal(percent, { maximumSignificantDigits: 2 }) : fixed(percent, 2);
  return `${text}${NBSP}%`;
}

/** `2.1×`. */
export function ratio(value: number | null | undefined): string {
  if (value == null || !Number.isFinite(value)) return UNKNOWN;
  return `${value < 10 ? decimal(value, { maximumSignificantDigits: 2 }) : fixed(value, 0)}×`;
}

/** What is tolerated, as the plan says it: `1.25×`. */
export const margin = (value: number): string => `${decimal(value, { maximumFractionDigits: 3 })}×`;

/** Evidence: one decimal below 100; what nobody can tell apart is "over 1,000,000". */
export function evidence(value: number | null | undefined): string {
  if (value == null || Number.isNaN(value)) return UNKNOWN;
  if (value > 1e6) return `> ${decimal(1e6, {})}`;
  return value < 100 ? decimal(value, { maximumFractionDigits: 1 }) : fixed(value, 0);
}

/** `410 ms`, then `1.18 s`. */
export function latency(ms: number | null | undefined): string {
  if (ms == null || !Number.isFinite(ms)) return UNKNOWN;
  if (ms < 1000) return `${fixed(ms, 0)}${NBSP}ms`;
  return `${fixed(ms / 1000, ms < 10_000 ? 2 : 1)}${NBSP}s`;
}

/** `34 h 15 min`, `8 days`, `42 s`: the two largest parts. */
export function duration(ms: number): string {
  const danish = preferences().language === 'da';
  const seconds = Math.max(0, Math.round(ms / 1000));
  const parts: [number, string][] = [
    [Math.floor(seconds / 86_400), danish ? 'd.' : 'd'],
    [Math.floor(seconds / 3600) % 24, danish ? 't' : 'h'],
    [Math.floor(seconds / 60) % 60, 'min'],
    [seconds % 60, 's'],
  ];
  const first = parts.findIndex(([value]) => value > 0);
  if (first < 0) return `0${NBSP}s`;
  return parts
    .slice(first, first + 2)
    .filter(([value]) => value > 0)
    .map(([value, unit]) => `${value}${NBSP}${unit}`)
    .join(NBSP);
}

/** Milliseconds of what a plan says: `2days`, `48h`, `1h 30m`. `null` where it cannot be read. */
export function planned(text: string): number | null {
  const units: Record<string, number> = {
    ms: 1, s: 1e3, sec: 1e3, m: 6e4, min: 6e4, h: 36e5, hr: 36e5, day: 864e5, d: 864e5, w: 6048e5, week: 6048e5,
    month: 2_630_016e3, year: 31_557_600e3,
  };
  let sum = 0;
  let found = false;
  for (const [, number, unit] of text.matchAll(/(\d+)\s*([a-z]+)/g)) {
    const factor = units[unit!] ?? units[unit!.replace(/s$/, '')];
    if (factor === undefined) return null;
    sum += Number(number) * factor;
    found = true;
  }
  return found ? sum : null;
}

/** Money in millionths of a dollar: `$0.42`, below a cent `$0.0004`. */
export function money(microdollars: number | null | undefined): string {
  if (microdollars == null || !Number.isFinite(microdollars)) return UNKNOWN;
  const dollars = microdollars / 1e6;
  const digits = dollars === 0 || dollars >= 0.01 ? 2 : 4;
  return `$${fixed(dollars, digits)}`;
}

function time(at: Date, options: Intl.DateTimeFormatOptions): string {
  return new Intl.DateTimeFormat(locale(), { timeZone: zone(), hourCycle: 'h23', ...options }).format(at);
}

/** `28 Nov 09:25`. */
export const moment = (at: Date): string =>
  `${time(at, { day: 'numeric', month: 'short' })} ${time(at, { hour: '2-digit', minute: '2-digit' })}`.replaceAll(' ', NBSP);

/** `28 Nov 09:25:01`. */
export const momentExact = (at: Date): string => `${time(at, { day: 'numeric', month: 'short' })} ${clock(at)}`.replaceAll(' ', NBSP);

/** `09:25:01`. */
export const clock = (at: Date): string => time(at, { hour: '2-digit', minute: '2-digit', second: '2-digit' });

/** Everything, with the offset: for titles and screen readers. */
export const absolute = (at: Date): string =>
  time(at, {
    year: 'numeric', month: 'long', day: 'numeric', hour: '2-digit', minute: '2-digit', second: '2-digit', timeZoneName: 'short',
  });

/** The zone that times are in: `Copenhagen (UTC+1)`. */
export function zoneName(now: Date): string {
  if (zone()) return 'UTC';
  const { timeZone } = Intl.DateTimeFormat().resolvedOptions();
  const offset = new Intl.DateTimeFormat('en', { timeZoneName: 'shortOffset' })
    .formatToParts(now)
    .find((part) => part.type === 'timeZoneName')?.value.replace('GMT', 'UTC');
  const city = timeZone.split('/').at(-1)!.replaceAll('_', ' ');
  return city === 'UTC' ? 'UTC' : `${city} (${offset})`;
}
