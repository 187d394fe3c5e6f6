// How long answers took over time: some lines, told apart by their dashes as well, each labelled at its end.
import { scaleLinear, scaleTime } from 'd3-scale';
import type { JSX } from 'react';
import { absolute, clock, latency, moment } from '../format.ts';
import { t } from '../texts/index.ts';
import { CursorAt, useCursor } from './EvidenceChart.tsx';
import { useWidth } from './hooks.ts';

export interface LatencyLine {
  label: string;
  /** Milliseconds, as many as there are times; `null` where nothing was asked. */
  values: (number | null)[];
}

/** Lines that are drawn at most: more cannot be told apart. */
export const MOST_LINES = 4;
const HEIGHT = 226;
/** What two labels need between them. */
const APART = 15;

export function LatencyChart({ name, at, lines }: { name: string; at: Date[]; lines: LatencyLine[] }): JSX.Element {
  const [box, width] = useWidth<HTMLDivElement>(640);
  const drawn = lines.slice(0, MOST_LINES);
  // As wide as the longest label, about.
  const right = width - 40 - 7 * Math.max(...drawn.map(({ label }) => short12(label).length));
  const most = Math.max(1, ...drawn.flatMap(({ values }) => values.map((value) => value ?? 0)));
  const y = scaleLinear().domain([0, most * 1.08]).range([HEIGHT - 26, 8]);
  const from = at[0]?.getTime() ?? 0;
  const to = Math.max(at.at(-1)?.getTime() ?? 1, from + 1000);
  const x = scaleTime().domain([from, to]).range([48, right - 8]);
  const ticks = x.ticks(Math.max(1, Math.floor((right - 48) / 130)));
  const short = to - from < 36 * 36e5;
  const points = at.map((moment, place) => ({ at: moment.getTime(), place })).filter(({ place }) => drawn.some(({ values }) => values[place] != null));
  const says = (place: number): string => drawn.map(({ label, values }) => `${label} ${latency(values[place])}`).join(', ');
  const cursor = useCursor(points, ({ at: when, place }) => `${absolute(new Date(when))}: ${says(place)}`);
  const ends = drawn.map(({ values }) => values.findLastIndex((value) => value !== null));
  // Labels of lines that end near each other make room, from the top down.
  const labels = ends.map((end, line) => ({ line, y: end < 0 ? HEIGHT - 26 : y(drawn[line]!.values[end]!) })).toSorted((a, b) => a.y - b.y);
  for (const [place, label] of labels.entries()) label.y = Math.max(label.y, (labels[place - 1]?.y ?? -APART) + APART);
  const first = drawn[0]?.values[cursor.point?.place ?? 0];
  return (
    <div ref={box}>
      <svg className="chart" width={width} height={HEIGHT} viewBox={`0 0 ${width} ${HEIGHT}`} role="img" aria-label={`${name} ${ends.map((end, line) => `${drawn[line]!.label} ${latency(drawn[line]!.values[end])}`).join(', ')}. ${t.evidence.cursor}`} {...cursor.keys}>
        {y.ticks(4).map((tick) => (
          <g key={tick}>
            <path className="g" d={`M48 ${y(tick)}H${right}`} />
            <text x="42" y={y(tick) + 4} textAnchor="end">{latency(tick)}</text>
          </g>
        ))}
        {ticks.map((tick) => (
          <text key={tick.getTime()} x={x(tick)} y={HEIGHT - 8} textAnchor={x(tick) < 90 ? 'start' : x(tick) > right - 50 ? 'end' : 'middle'}>
            {short ? clock(tick) : moment(tick)}
          </text>
        ))}
        {drawn.map(({ label, values }, line) => (
          <g key={label} className={`lat lat-${line}`}>
            <path d={path(values, at, x, y)} />
            {alone(values).map((place) => <circle key={place} cx={x(at[place]!)} cy={y(values[place]!)} r="3" />)}
          </g>
        ))}
        {labels.map(({ line, y: height }) => (
          <g key={line} className={`lat lat-${line}`}>
            <path d={`M${right + 4} ${height}H${right + 22}`} />
            <text x={right + 28} y={height + 4}>{short12(drawn[line]!.label)}<title>{drawn[line]!.label}</title></text>
          </g>
        ))}
        {cursor.point && <CursorAt x={x(cursor.point.at)} y={y(first ?? 0)} right={right} text={`${clock(new Date(cursor.point.at))} · ${says(cursor.point.place)}`} />}
      </svg>
      <p className="sr" role="status">{cursor.spoken}</p>
    </div>
  );
}

const short12 = (label: string): string => (label.length > 14 ? `${label.slice(0, 13)}…` : label);

/** A line that breaks where nothing was asked. */
function path(values: (number | null)[], at: Date[], x: (at: Date) => number, y: (value: number) => number): string {
  return values.map((value, place) => (value === null ? '' : `${values[place - 1] == null ? 'M' : 'L'}${x(at[place]!).toFixed(1)} ${y(value).toFixed(1)}`)).join('');
}

/** Points with nothing beside them, which no line shows. */
const alone = (values: (number | null)[]): number[] =>
  values.flatMap((value, place) => (value !== null && values[place - 1] == null && values[place + 1] == null ? [place] : []));
