// Attempts over time: how many, how many failed and of what, how long they took, and what they used.
import { keepPreviousData, useQuery } from '@tanstack/react-query';
import type { By, Line } from 'modelramp-schema';
import type { JSX } from 'react';
import { Link, useSearchParams } from 'wouter';
import { useModelName } from '../catalog.ts';
import { UNKNOWN, count, latency, moment, money } from '../format.ts';
import { server, serverNow } from '../server.ts';
import { t } from '../texts/index.ts';
import { Empty, Fault, Panel, Waiting } from './Panel.tsx';
import { LatencyChart, type LatencyLine, MOST_LINES } from './LatencyChart.tsx';

/** The times that can be chosen, with the steps that are drawn of each. */
const RANGES = { '1h': [36e5, 60], '24h': [864e5, 96], '7d': [6048e5, 168] } as const;
type Range = keyof typeof RANGES;
const BYS = ['model', 'variant', 'task', 'provider'] as const satisfies By[];

const sum = (values: number[]): number => values.reduce((a, b) => a + b, 0);

/** Of one model, or of all by what the address says. */
export function OverTime({ name }: { name: string | undefined }): JSX.Element {
  const say = useModelName();
  const [search, setSearch] = useSearchParams();
  const asked = { range: search.get('range'), by: search.get('by') };
  const range: Range = asked.range !== null && Object.hasOwn(RANGES, asked.range) ? (asked.range as Range) : '24h';
  const by = BYS.find((known) => known === asked.by) ?? 'model';
  const [length, points] = RANGES[range];
  const { data, error, refetch } = useQuery({
    queryKey: ['aiMetrics.getSeries', name, range, by],
    queryFn: () => {
      const to = serverNow();
      return server.aiMetrics.getSeries.query({ from: new Date(to.getTime() - length), to, by: name ? 'model' : by, points, ...(name && { filter: { model: name } }) });
    },
    refetchInterval: 60_000,
    placeholderData: keepPreviousData,
  });
  const set = (which: 'range' | 'by', value: string): void =>
    setSearch((before) => {
      before.set(which, value);
      return before;
    }, { replace: true });
  const called = (key: string): string => (by === 'model' || name ? say(key) : by === 'variant' && (key === 'control' || key === 'candidate') ? t.compare[key] : key);
  const lines = data?.series.toSorted((a, b) => sum(b.requests) - sum(a.requests)) ?? [];
  const faults = data?.faults.map(({ outcome, count: counts }) => ({ outcome, all: sum(counts), counts })).filter(({ all }) => all > 0) ?? [];
  const wrong = (['range', 'by'] as const).filter((which) => asked[which] && asked[which] !== { range, by }[which]);
  return (
    <Panel
      title={t.models.overTime}
      side={
        <>
          <label className="labelled inline small"><span className="sr">{t.models.range}</span><select className="field" value={range} onChange={(event) => set('range', event.target.value)}>{(Object.keys(RANGES) as Range[]).map((one) => <option key={one} value={one}>{t.models.ranges[one]}</option>)}</select></label>
          {!name && <label className="labelled inline small"><span className="sr">{t.models.by}</span><select className="field" data-filter value={by} onChange={(event) => set('by', event.target.value)}>{BYS.map((one) => <option key={one} value={one}>{t.models.bys[one]}</option>)}</select></label>}
        </>
      }
    >
      {wrong.map((which) => <p key={which} className="banner watch">{t.requests.bad(which, asked[which]!)}</p>)}
      {error ? <Fault error={error} again={() => void refetch()} /> : !data ? <Waiting /> : lines.length === 0 ? <Empty text={t.models.idle} /> : (
        <>
          <figure className="pad">
            <h3>{name ? t.models.took : t.models.tookMost}</h3>
            <LatencyChart name={name ? t.models.took : t.models.tookMost} at={data.at} lines={name ? percentiles(lines[0]!) : lines.map((line) => ({ label: called(line.key), values: line.p95 }))} />
            {lines.length > MOST_LINES && !name && <figcaption className="small muted">{t.models.drawn(MOST_LINES)}</figcaption>}
          </figure>
          <Sums lines={lines} called={called} />
          {faults.length > 0 && (
            <ul className="feed plainfeed">
              {faults.map(({ outcome, all, counts }) => <li key={outcome}><p><Link href={`/requests?range=${range}&outcome=${outcome}${name ? `&model=${encodeURIComponent(name)}` : ''}`} title={outcome}>{t.outcomes[outcome] ?? outcome}</Link>: {count(all)} <Spark values={counts} bad /></p></li>)}
            </ul>
          )}
          <details className="evid">
            <summary>{t.shell.showTable}</summary>
            <div className="scroll pad"><Table at={data.at} lines={lines} called={called} /></div>
          </details>
        </>
      )}
    </Panel>
  );
}

const percentiles = ({ p50, p95, p99 }: Line): LatencyLine[] => [
  { label: 'P99', values: p99 }, { label: 'P95', values: p95 }, { label: 'P50', values: p50 },
];

function Sums({ lines, called }: { lines: Line[]; called: (key: string) => string }): JSX.Element {
  return (
    <table className="rows">
      <thead><tr><th scope="col">{t.models.what}</th><th scope="col">{t.models.requests}</th><th scope="col">{t.models.failed}</th><th scope="col">{t.compare.p95}</th><th scope="col" className="r">{t.requests.tokens}</th><th scope="col" className="r">{t.requests.cost}</th></tr></thead>
      <tbody>
        {lines.map((line) => {
          const cost = sum(line.costMicrodollars);
          return (
            <tr key={line.key}>
              <th scope="row">{called(line.key)}</th>
              <td data-label={t.models.requests}>{count(sum(line.requests))} <Spark values={line.requests} /></td>
              <td data-label={t.models.failed}>{count(sum(line.failures))} <Spark values={line.failures} bad /></td>
              <td data-label={t.compare.p95}>{latency(line.p95.findLast((value) => value !== null))} <Spark values={line.p95} /></td>
              <td data-label={t.requests.tokens} className="r">{count(sum(line.tokens))}</td>
              <td data-label={t.requests.cost} className="r">{cost > 0 ? money(cost) : UNKNOWN}</td>
            </tr>
          );
        })}
      </tbody>
    </table>
  );
}

/** The same figures as numbers, of the steps in which something was asked. */
function Table({ at, lines, called }: { at: Date[]; lines: Line[]; called: (key: string) => string }): JSX.Element {
  const steps = at.map((_, place) => place).filter((place) => lines.some(({ requests }) => requests[place]! > 0));
  return (
    <table className="tests">
      <thead><tr><th scope="col">{t.evidence.time}</th><th scope="col">{t.models.what}</th><th scope="col" className="r">{t.models.requests}</th><th scope="col" className="r">{t.models.failed}</th><th scope="col" className="r">P50</th><th scope="col" className="r">P95</th><th scope="col" className="r">P99</th></tr></thead>
      <tbody>
        {steps.toReversed().flatMap((place) => lines.filter(({ requests }) => requests[place]! > 0).map((line) => (
          <tr key={`${place} ${line.key}`}>
            <th scope="row">{moment(at[place]!)}</th><td>{called(line.key)}</td><td className="r">{count(line.requests[place])}</td><td className="r">{count(line.failures[place])}</td><td className="r">{latency(line.p50[place])}</td><td className="r">{latency(line.p95[place])}</td><td className="r">{latency(line.p99[place])}</td>
          </tr>
        )))}
      </tbody>
    </table>
  );
}

/** A row of figures as small bars; the sum stands beside it in words. What is unknown is a gap. */
function Spark({ values, bad = false }: { values: (number | null)[]; bad?: boolean }): JSX.Element {
  const most = Math.max(...values.map((value) => value ?? 0), 1);
  return (
    <svg className={bad ? 'spark bad' : 'spark'} viewBox={`0 0 ${values.length} 20`} preserveAspectRatio="none" aria-hidden="true">
      {values.map((value, place) => value !== null && value > 0 && <rect key={place} x={place} width="0.9" y={20 - (20 * value) / most} height={(20 * value) / most} />)}
    </svg>
  );
}
