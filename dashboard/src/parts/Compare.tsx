// Candidate beside control. A rate never stands without its counts; what is not judged says so.
import { keepPreviousData, useQuery } from '@tanstack/react-query';
import type { Arms, Effect, Metric, RolloutDetails, Timed, Variants } from 'modelramp-schema';
import type { JSX, ReactNode } from 'react';
import { useModelName } from '../catalog.ts';
import { UNKNOWN, count, duration, evidence, latency, money, rate, ratio } from '../format.ts';
import { atLeast, effectOf, failureRate, failureRatio, primaries, situation, toneOf } from '../judgement.ts';
import { server, serverNow } from '../server.ts';
import { t } from '../texts/index.ts';
import { Forest, ForestScale } from './Forest.tsx';
import { Panel } from './Panel.tsx';

interface Row {
  name: string;
  note?: string;
  candidate: ReactNode;
  control: ReactNode;
  picture: ReactNode;
  words: ReactNode;
  alarm?: boolean;
}

/** "80 ms less", of two figures that may be unknown. */
function difference(a: number | null, b: number | null, say: (value: number) => string): string {
  if (a === null || b === null) return UNKNOWN;
  const apart = a - b;
  if (say(Math.abs(apart)) === say(0)) return t.compare.equal;
  return apart < 0 ? t.compare.less(say(-apart)) : t.compare.more(say(apart));
}

export function Compare({ rollout, variants }: { rollout: RolloutDetails; variants: Variants | undefined }): JSX.Element {
  const name = useModelName();
  const models = primaries(rollout);
  const { candidate, control } = rollout.finding;
  const margin = rollout.wanted.evidence.margin;
  const times = failureRatio(rollout);
  const failed = effectOf(rollout, 'errors');
  const least = atLeast(rollout);
  const tone = toneOf(situation(rollout));
  const { data: arms } = useQuery({
    queryKey: ['rollout.arms', rollout.id, rollout.stage],
    queryFn: () => server.rollout.arms.query({ id: rollout.id }),
    refetchInterval: rollout.live ? 30_000 : false,
    placeholderData: keepPreviousData,
  });
  const judged: Row[] = [
    {
      name: t.compare.failed,
      candidate: <Rate errors={candidate.errors} requests={candidate.requests} />,
      control: <Rate errors={control.errors} requests={control.requests} />,
      picture: <Forest value={times} low={failed?.low} high={failed?.high} margin={margin} />,
      words: times === null ? (least === null ? t.compare.noRatio : t.compare.atLeast(ratio(least))) : failed && failed.high !== null ? t.compare.interval(ratio(times), ratio(failed.low), ratio(failed.high)) : t.compare.asCounted(ratio(times)),
      alarm: tone === 'watch' || tone === 'hold',
    },
    ...rollout.verdict.metrics
      .filter(({ metric, weight }) => weight > 0 && metric !== 'errors')
      .map(({ metric, e }): Row => ({
        ...nameOf(metric, rollout.verdict.timed ?? 'whole'),
        candidate: UNKNOWN,
        control: UNKNOWN,
        ...judgedBy(effectOf(rollout, metric), e),
      })),
    shown(t.compare.average, candidate.requests > 0 ? candidate.averageMs : null, control.requests > 0 ? control.averageMs : null, latency),
  ];
  return (
    <Panel
      title={t.compare.title}
      note={t.compare.stage(duration((rollout.endedAt ?? serverNow()).getTime() - rollout.stageBeganAt.getTime()))}
      side={
        <>
          <span className="key"><svg viewBox="0 0 22 10" aria-hidden="true"><path className="l-cand" d="M0 5H22" /><circle className="m-cand" cx="11" cy="5" r="4" /></svg>{name(models.candidate)}</span>
          <span className="key"><svg viewBox="0 0 22 10" aria-hidden="true"><path className="l-ctrl" d="M0 5H22" /><rect className="m-ctrl" x="8" y="2" width="6" height="6" /></svg>{name(models.control)}</span>
        </>
      }
    >
      <table className="cmp">
        <caption className="sr">{t.compare.caption}</caption>
        <thead>
          <tr>
            <th scope="col">{t.compare.what}</th>
            <th scope="col" className="r">{t.compare.candidate}</th>
            <th scope="col" className="r">{t.compare.control}</th>
            <th scope="col"><span className="sr">{t.compare.picture}</span><ForestScale margin={margin} /></th>
            <th scope="col">{t.compare.where}</th>
          </tr>
        </thead>
        <tbody>{judged.map((row) => <Line key={row.name} row={row} />)}</tbody>
        {arms && (
          <tbody>
            <tr className="between"><th scope="rowgroup" colSpan={5}>{t.compare.ofStage}{!arms.whole && ` ${t.compare.notWhole}`}</th></tr>
            {armRows(arms).map((row) => <Line key={row.name} row={row} />)}
          </tbody>
        )}
        {variants && (
          <tbody>
            <tr className="between"><th scope="rowgroup" colSpan={5}>{t.compare.lastMinutes}</th></tr>
            {windowRows(variants).map((row) => <Line key={row.name} row={row} />)}
          </tbody>
        )}
      </table>
    </Panel>
  );
}

function nameOf(metric: Metric, timed: Timed): Pick<Row, 'name' | 'note'> {
  switch (metric) {
    case 'errors':
      return { name: t.compare.failed };
    case 'slow':
      return { name: t.compare.slow, note: `${t.compare.timed[timed]} ${t.compare.slowNote}` };
    case 'very-slow':
      return { name: t.compare.verySlow, note: `${t.compare.timed[timed]} ${t.compare.verySlowNote}` };
    case 'feedback':
      return { name: t.compare.feedback };
    case 'quality':
      return { name: t.compare.quality, note: t.compare.qualityNote };
  }
}

/** The interval of an effect where it is known, else what the evidence says as a whole. */
function judgedBy(effect: Effect | undefined, e: number): Pick<Row, 'picture' | 'words'> {
  if (effect && effect.ratio !== null && effect.high !== null) {
    return {
      picture: <Forest value={effect.ratio} low={effect.low} high={effect.high} margin={effect.margin} />,
      words: t.compare.interval(ratio(effect.ratio), ratio(effect.low), ratio(effect.high)),
    };
  }
  return {
    picture: <span className="words">{t.compare.judged(evidence(e))}</span>,
    words: e > 1 ? t.evidence.says.against : t.evidence.says.nothing,
  };
}

function Rate({ errors, requests }: { errors: number; requests: number }): JSX.Element {
  return (
    <>
      {rate(failureRate({ errors, requests }))}
      <span className="sub">{t.compare.failedOf(count(errors), count(requests))}</span>
    </>
  );
}

function shown(name: string, candidate: number | null, control: number | null, say: (value: number | null) => string): Row {
  return {
    name,
    candidate: say(candidate),
    control: say(control),
    picture: <span className="words wideonly">{t.compare.shown}</span>,
    words: difference(candidate, control, say),
  };
}

function armRows({ candidate, control }: Arms): Row[] {
  const both = (name: string, pick: (arm: Arms['candidate']) => number | null, say: (value: number | null) => string): Row => shown(name, pick(candidate), pick(control), say);
  const perThousand = (arm: Arms['candidate']): number | null => (arm.requests > 0 && arm.costMicrodollars > 0 ? (arm.costMicrodollars / arm.requests) * 1000 : null);
  return [
    both(t.compare.p50, (arm) => arm.p50, latency),
    both(t.compare.p95, (arm) => arm.p95, latency),
    both(t.compare.p99, (arm) => arm.p99, latency),
    both(t.compare.firstToken, (arm) => arm.firstTokenP50, latency),
    both(t.compare.cost, perThousand, money),
  ];
}

function windowRows({ candidate, control }: Variants): Row[] {
  const of = (arm: Variants['candidate'], value: number | null): number | null => (arm.requests > 0 ? value : null);
  const both = (name: string, pick: (arm: Variants['candidate']) => number | null, say: (value: number | null) => string): Row =>
    shown(name, of(candidate, pick(candidate)), of(control, pick(control)), say);
  const perThousand = (arm: Variants['candidate']): number | null => (arm.costMicrodollars > 0 ? (arm.costMicrodollars / arm.requests) * 1000 : null);
  return [
    both(t.compare.p50, (arm) => arm.p50ResponseTime, latency),
    both(t.compare.p95, (arm) => arm.p95ResponseTime, latency),
    both(t.compare.firstToken, (arm) => arm.p50FirstTokenTime, latency),
    both(t.compare.cost, perThousand, money),
  ];
}

function Line({ row }: { row: Row }): JSX.Element {
  return (
    <tr className={row.alarm ? 'alarm' : undefined}>
      <th scope="row">{row.name} {row.note && <span className="words">{row.note}</span>}</th>
      <td className="r c cand"><span className="lbl" aria-hidden="true">{t.compare.candidate} </span>{row.candidate}</td>
      <td className="r k"><span className="lbl" aria-hidden="true">{t.compare.control} </span>{row.control}</td>
      <td className="f">{row.picture}</td>
      <td className="d">{row.words}</td>
    </tr>
  );
}
