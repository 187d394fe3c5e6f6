// The ratio as a small picture on a log scale from ½ to 4: control at 1, what is tolerated, and where the candidate lies.
import { scaleLog } from 'd3-scale';
import type { JSX } from 'react';
import { ratio, margin as tolerated } from '../format.ts';
import { t } from '../texts/index.ts';

export const FOREST_WIDTH = 212;
const x = scaleLog().base(2).domain([0.5, 4]).range([10, FOREST_WIDTH - 14]).clamp(true);

export interface Lying {
  value: number | null;
  low?: number | null;
  high?: number | null;
  margin: number;
}

/** The scale's words, for the head of the column. */
export function ForestScale({ margin }: { margin: number }): JSX.Element {
  return (
    <svg className="forest" viewBox={`0 0 ${FOREST_WIDTH} 24`} aria-hidden="true">
      <text x={x(0.5)} y="20" textAnchor="middle">½×</text>
      <text x={x(1)} y="20" textAnchor="end">{t.compare.same}&nbsp;</text>
      <text className="m" x={x(margin) - 6} y="20">{t.compare.tolerated(tolerated(margin).replace('×', ''))}</text>
      <text x={x(4)} y="20" textAnchor="middle">4×</text>
    </svg>
  );
}

export function Forest({ value, low, high, margin }: Lying): JSX.Element {
  const name = value === null ? t.compare.noRatio : t.compare.sentence(ratio(value), tolerated(margin));
  return (
    <svg className="forest" viewBox={`0 0 ${FOREST_WIDTH} 24`} role="img" aria-label={name}>
      {[0.5, 2, 4].map((at) => <path key={at} className="grid" d={`M${x(at)} 2V22`} />)}
      <path className="one" d={`M${x(1)} 2V22`} />
      <path className="margin" d={`M${x(margin)} 1V23`} />
      {low != null && high != null && <rect className="band" x={x(low)} y="7" width={Math.max(2, x(high) - x(low))} height="10" rx="2" />}
      {value !== null && (value > 4
        ? <path className="pt" d={`M${x(4) + 2} 6l8 6-8 6z`} />
        : <circle className="pt" cx={x(value)} cy="12" r="4.5" />)}
    </svg>
  );
}
