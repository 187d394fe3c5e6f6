// Evidence over time on a log scale, with the lines at which something happens. Each line is labelled where it is.
import { scaleLinear, scaleLog, scaleTime } from 'd3-scale';
import { type JSX, type KeyboardEvent, useEffect, useState } from 'react';
import { absolute, clock, evidence, moment, ratio as ratioOf, margin as tolerated } from '../format.ts';
import { t } from '../texts/index.ts';
import { useWidth } from './hooks.ts';

/** A cursor over the points that arrow keys move, and what it is on, spoken once it rests. */
export function useCursor<P extends { at: number }>(points: P[], words: (point: P) => string): { point: P | undefined; spoken: string; keys: { tabIndex: 0; onKeyDown: (event: KeyboardEvent<SVGSVGElement>) => void; onBlur: () => void } } {
  const [at, setAt] = useState<number | null>(null);
  const [spoken, setSpoken] = useState('');
  const place = at === null ? -1 : points.findLastIndex((point) => point.at <= at);
  const point = points[place];
  const says = point ? words(point) : '';
  useEffect(() => {
    const timer = setTimeout(() => setSpoken(says), 400);
    return () => clearTimeout(timer);
  }, [says]);
  const onKeyDown = (event: KeyboardEvent<SVGSVGElement>): void => {
    const last = points.length - 1;
    const from = place < 0 ? last + 1 : place;
    const to: Record<string, number> = { ArrowLeft: from - 1, ArrowRight: place < 0 ? last : from + 1, PageUp: from - 10, PageDown: from + 10, Home: 0, End: last };
    const next = to[event.key];
    if (next === undefined || last < 0) return;
    event.preventDefault();
    setAt(points[Math.min(last, Math.max(0, next))]!.at);
  };
  return { point, spoken, keys: { tabIndex: 0, onKeyDown, onBlur: () => setAt(null) } };
}

export interface Point {
  at: number;
  e: number;
  /** What was decided there, in a word. */
  mark?: string;
}

export interface Lines {
  watch: number;
  hold: number;
  rollback: number;
}

const HEIGHT = 226;
const LABELS = 104;

export function EvidenceChart({ points, lines }: { points: Point[]; lines: Lines }): JSX.Element {
  const [box, width] = useWidth<HTMLDivElement>(640);
  const last = points.at(-1);
  const right = width - LABELS;
  const peak = Math.max(...points.map(({ e }) => Math.min(e, 1e6)), 1);
  const y = scaleLog().domain([0.3, Math.max(1.5 * lines.rollback, 1.5 * peak)]).range([HEIGHT - 26, 8]).clamp(true);
  const from = points[0]?.at ?? 0;
  const to = Math.max(last?.at ?? 1, from + 1000);
  const x = scaleTime().domain([from, to]).range([8, right - 8]);
  const found = x.ticks(Math.max(2, Math.floor(right / 150)));
  // As many as are apart: the scale gives more than it is asked for, and on a phone their times would lie over each other.
  const every = Math.ceil((found.length * 78) / Math.max(78, right));
  const ticks = found.filter((_, place) => place % every === 0);
  const path = points.map(({ at, e }, place) => `${place === 0 ? 'M' : 'L'}${x(at).toFixed(1)} ${y(Math.max(e, 0.3)).toFixed(1)}`).join('');
  const name = t.evidence.picture(evidence(last?.e), evidence(lines.watch), evidence(lines.hold), evidence(lines.rollback));
  const short = to - from < 2 * 36e5;
  const cursor = useCursor(points, (point) => `${absolute(new Date(point.at))}: ${t.evidence.e} ${evidence(point.e)}${point.mark ? `, ${point.mark}` : ''}`);
  return (
    <div ref={box}>
      <svg className="chart" width={width} height={HEIGHT} viewBox={`0 0 ${width} ${HEIGHT}`} role="img" aria-label={`${name} ${t.evidence.cursor}`} {...cursor.keys}>
        <rect className="zone" x="8" y={y(lines.hold)} width={right - 8} height={y(lines.watch) - y(lines.hold)} />
        <rect className="zone-hold" x="8" y={y(lines.rollback)} width={right - 8} height={y(lines.hold) - y(lines.rollback)} />
        <Line at={y(1)} kind="g" right={right} text={`1 ${t.evidence.nothing}`} />
        <Line at={y(lines.watch)} kind="ln-watch" right={right} text={`${evidence(lines.watch)} ${t.evidence.watch}`} label="lv lv-watch" />
        <Line at={y(lines.hold)} kind="ln-hold" right={right} text={`${evidence(lines.hold)} ${t.evidence.hold}`} label="lv lv-hold" />
        <Line at={y(lines.rollback)} kind="ln-bad" right={right} text={`${evidence(lines.rollback)} ${t.evidence.rollback}`} label="lv lv-bad" />
        <path className="base" d={`M8 ${HEIGHT - 26}H${right}`} />
        {ticks.map((tick) => (
          <text key={tick.getTime()} x={x(tick)} y={HEIGHT - 8} textAnchor={x(tick) < 50 ? 'start' : x(tick) > right - 50 ? 'end' : 'middle'}>
            {short ? clock(tick) : moment(tick)}
          </text>
        ))}
        {points.filter(({ mark }) => mark).map(({ at, e, mark }) => (
          <g key={`${at}${mark}`}>
            <path className="mark" d={`M${x(at)} ${HEIGHT - 26}V${y(Math.max(e, 0.3))}`} />
            <title>{mark}</title>
          </g>
        ))}
        <path className="e-line" d={path} />
        {last && <circle className="e-dot" cx={x(last.at)} cy={y(Math.max(last.e, 0.3))} r="5" />}
        {cursor.point && <CursorAt x={x(cursor.point.at)} y={y(Math.max(cursor.point.e, 0.3))} right={right} text={`${clock(new Date(cursor.point.at))} · ${evidence(cursor.point.e)}`} />}
      </svg>
      <p className="sr" role="status">{cursor.spoken}</p>
    </div>
  );
}

export function CursorAt({ x, y, right, text }: { x: number; y: number; right: number; text: string }): JSX.Element {
  return (
    <g className="cursor">
      <path className="mark" d={`M${x} ${HEIGHT - 26}V8`} />
      <circle className="e-dot" cx={x} cy={y} r="4" />
      <text className="strong" x={x > right / 2 ? x - 8 : x + 8} y="18" textAnchor={x > right / 2 ? 'end' : 'start'}>{text}</text>
    </g>
  );
}

function Line({ at, kind, right, text, label, up = 0 }: { at: number; kind: string; right: number; text: string; label?: string; up?: number }): JSX.Element {
  return (
    <>
      <path className={kind} d={`M8 ${at}H${right}`} />
      <text className={label} x={right + 8} y={at + 4 - up}>{text}</text>
    </>
  );
}

export interface RatioPoint {
  at: number;
  ratio: number | null;
  low?: number | null;
  high?: number | null;
}

/** The ratio over time, ½ to 4 or more, with its interval where that is known. */
export function RatioChart({ points, margin }: { points: RatioPoint[]; margin: number }): JSX.Element {
  const [box, width] = useWidth<HTMLDivElement>(320);
  const known = points.filter((point): point is RatioPoint & { ratio: number } => point.ratio !== null);
  const last = known.at(-1);
  const right = width - LABELS;
  const y = scaleLog().base(2).domain([0.5, Math.max(4, ...known.map(({ ratio: value }) => value * 1.2))]).range([HEIGHT - 26, 8]).clamp(true);
  const x = scaleLinear().domain([points[0]?.at ?? 0, Math.max(points.at(-1)?.at ?? 1, (points[0]?.at ?? 0) + 1000)]).range([8, right - 8]);
  const ends = [points[0], points.at(-1)].filter((point) => point !== undefined);
  const banded = points.filter((point) => point.low != null && point.high != null);
  const band = banded.length > 1
    ? `M${banded.map((point) => `${x(point.at).toFixed(1)} ${y(point.high!).toFixed(1)}`).join('L')}L${banded.toReversed().map((point) => `${x(point.at).toFixed(1)} ${y(point.low!).toFixed(1)}`).join('L')}Z`
    : null;
  const value = last ? `${evidence(last.ratio)}×` : t.compare.noRatio;
  const cursor = useCursor(known, (point) => `${absolute(new Date(point.at))}: ${point.low != null && point.high != null ? t.compare.interval(ratioOf(point.ratio), ratioOf(point.low), ratioOf(point.high)) : ratioOf(point.ratio)}`);
  // Two labels that would lie on each other make room, half each.
  const apart = Math.max(0, (15 - (y(1) - y(margin))) / 2);
  return (
    <div ref={box}>
      <svg className="chart" width={width} height={HEIGHT} viewBox={`0 0 ${width} ${HEIGHT}`} role="img" aria-label={`${t.compare.sentence(value, tolerated(margin))} ${t.evidence.cursor}`} {...cursor.keys}>
        <path className="base" d={`M8 ${HEIGHT - 26}H${right}`} />
        {band && <path className="r-band" d={band} />}
        <Line at={y(margin)} kind="r-margin" right={right} text={t.compare.tolerated(tolerated(margin).replace('×', ''))} label="lv lv-watch" up={apart} />
        <Line at={y(1)} kind="r-one" right={right} text={`1 ${t.evidence.control}`} label="ctrl" up={-apart} />
        {known.length > 0 && <path className="r-line" d={`M${known.map((point) => `${x(point.at).toFixed(1)} ${y(point.ratio).toFixed(1)}`).join('L')}`} />}
        {last && <circle className="m-cand" cx={x(last.at)} cy={y(last.ratio)} r="5" />}
        {last && Math.abs(y(last.ratio) - y(margin)) > 14 && <text className="cand" x={right + 8} y={y(last.ratio) + 4}>{value} {t.evidence.now}</text>}
        {ends.map((point, place) => (
          <text key={place} x={x(point.at)} y={HEIGHT - 8} textAnchor={place === 0 ? 'start' : 'end'}>
            <title>{absolute(new Date(point.at))}</title>
            {clock(new Date(point.at))}
          </text>
        ))}
        {cursor.point && <CursorAt x={x(cursor.point.at)} y={y(cursor.point.ratio)} right={right} text={`${clock(new Date(cursor.point.at))} · ${ratioOf(cursor.point.ratio)}`} />}
      </svg>
      <p className="sr" role="status">{cursor.spoken}</p>
    </div>
  );
}
