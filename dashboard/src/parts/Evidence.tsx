// The evidence of a rollout over time: as a picture with what it means in words, and as tables.
import { keepPreviousData, useQuery } from '@tanstack/react-query';
import type { RolloutDetails } from 'modelramp-schema';
import type { JSX } from 'react';
import { absolute, count, evidence, rate, ratio } from '../format.ts';
import { samplesOf } from '../live.ts';
import { useDecisions } from '../queries.ts';
import { server } from '../server.ts';
import { t } from '../texts/index.ts';
import { EvidenceChart, type Point, RatioChart, type RatioPoint } from './EvidenceChart.tsx';
import { changeText } from './Feed.tsx';
import { Panel } from './Panel.tsx';
import { CsvLink } from './Text.tsx';

/** The series that the server keeps, then what this tab has read since; marked where something was decided. */
export function usePoints(rollout: RolloutDetails): (Point & RatioPoint)[] {
  const { data } = useQuery({
    queryKey: ['rollout.series', rollout.id, rollout.version],
    queryFn: () => server.rollout.series.query({ id: rollout.id, points: 300 }),
    refetchInterval: rollout.live ? 60_000 : false,
    placeholderData: keepPreviousData,
  });
  const decisions = useDecisions(rollout.id, rollout.version).data ?? [];
  const kept = data?.at.map((at, place) => ({ at: at.getTime(), e: data.e[place] ?? 1, ratio: data.ratio[place] ?? null, low: data.low[place] ?? null, high: data.high[place] ?? null })) ?? [];
  const last = kept.at(-1)?.at ?? 0;
  const decided = decisions.map((why) => {
    const finding = why.figures?.finding;
    const of = finding && finding.candidate.errors > 0 && finding.control.errors > 0
      ? (finding.candidate.errors / finding.candidate.requests) / (finding.control.errors / finding.control.requests)
      : null;
    return { at: why.at.getTime(), e: finding?.e ?? 1, ratio: of, mark: changeText({ action: why.action, reason: why.reason, before: null, after: { state: rollout.state, stage: 0, share: 0 } }) };
  });
  return [...kept, ...decided, ...samplesOf(rollout.id).filter(({ at }) => at > last)].toSorted((a, b) => a.at - b.at);
}

function meaning(e: number): string {
  if (e < 2) return t.evidence.meansNothing(evidence(e));
  return t.evidence.means(evidence(e), e > 1e6 ? evidence(e) : count(Math.max(1, Math.floor(e))));
}

export function EvidencePanel({ rollout }: { rollout: RolloutDetails }): JSX.Element {
  return (
    <Panel title={t.evidence.title} note={t.evidence.note}>
      <figure className="pad">
        <EvidenceFigure rollout={rollout} />
      </figure>
    </Panel>
  );
}

export function EvidenceFigure({ rollout }: { rollout: RolloutDetails }): JSX.Element {
  const points = usePoints(rollout);
  const { watch, hold, rollback } = rollout.wanted.evidence;
  return (
    <>
      <EvidenceChart points={points} lines={{ watch, hold, rollback }} />
      <figcaption className="small muted">{meaning(rollout.finding.e)}</figcaption>
      <PointTable id={rollout.id} points={points} />
    </>
  );
}

function PointTable({ id, points }: { id: string; points: (Point & RatioPoint)[] }): JSX.Element {
  const head = [t.evidence.time, t.evidence.e, t.evidence.ratio, t.evidence.decision];
  return (
    <details className="table">
      <summary>{t.shell.showTable}</summary>
      <div className="scroll" tabIndex={0} role="region" aria-label={t.evidence.title}>
        <table className="tests">
          <thead><tr>{head.map((name, place) => <th key={name} scope="col" className={place === 1 || place === 2 ? 'r' : undefined}>{name}</th>)}</tr></thead>
          <tbody>
            {points.toReversed().slice(0, 200).map((point) => (
              <tr key={`${point.at}${point.mark ?? ''}`}>
                <td>{absolute(new Date(point.at))}</td>
                <td className="r">{evidence(point.e)}</td>
                <td className="r">{point.low != null && point.high != null ? t.compare.interval(ratio(point.ratio), ratio(point.low), ratio(point.high)) : ratio(point.ratio)}</td>
                <td>{point.mark ?? ''}</td>
              </tr>
            ))}
          </tbody>
        </table>
      </div>
      <CsvLink file="series" input={{ id }} />
    </details>
  );
}

export function RatioFigure({ rollout }: { rollout: RolloutDetails }): JSX.Element {
  return <RatioChart points={usePoints(rollout)} margin={rollout.wanted.evidence.margin} />;
}

/** Every test that judges, with what it says in words. */
export function Tests({ rollout }: { rollout: RolloutDetails }): JSX.Element {
  const { verdict, wanted } = rollout;
  const says = (e: number): string => (e > 1 ? t.evidence.says.against : t.evidence.says.nothing);
  const rows: [string, string, string, string, string][] = [
    ...verdict.metrics.map(({ metric, weight, e }): [string, string, string, string, string] => [
      t.evidence.tests[metric], `${weight}`, evidence(e), '–', weight > 0 ? says(e) : t.evidence.says.notWeighed,
    ]),
    [t.evidence.tests.all, '1', evidence(verdict.e), evidence(wanted.evidence.rollback), says(verdict.e)],
    [t.evidence.tests.crash, '', evidence(verdict.crash), count(wanted.evidence.rollback * 10), verdict.crash >= wanted.evidence.rollback * 10 ? t.evidence.says.crash : t.evidence.says.notCrash],
    [t.evidence.tests.absolute(rate(verdict.absolute.limit)), '', evidence(verdict.absolute.e), count(wanted.evidence.rollback * 10), verdict.absolute.broken ? t.evidence.says.broken : t.evidence.says.notBroken],
    [t.evidence.tests.ratio, '', evidence(verdict.sampleRatio.e), count(1000), verdict.sampleRatio.mismatch ? t.evidence.says.mismatch : t.evidence.says.split(count(verdict.candidate.users), count(verdict.control.users))],
  ];
  return (
    <table className="tests">
      <caption className="sr">{t.evidence.title}</caption>
      <thead>
        <tr>
          <th scope="col">{t.evidence.test}</th>
          <th scope="col" className="r">{t.evidence.weight}</th>
          <th scope="col" className="r">{t.evidence.e}</th>
          <th scope="col" className="r">{t.evidence.actsAt}</th>
          <th scope="col">{t.evidence.inWords}</th>
        </tr>
      </thead>
      <tbody>
        {rows.map(([name, weight, e, at, words]) => (
          <tr key={name}><th scope="row">{name}</th><td className="r">{weight}</td><td className="r strong">{e}</td><td className="r">{at}</td><td>{words}</td></tr>
        ))}
      </tbody>
    </table>
  );
}
