// Requests, newest first, by the filters of the address; one opens to all its attempts.
import { useInfiniteQuery, useQuery } from '@tanstack/react-query';
import type { ListRequests, RequestRow } from 'modelramp-schema';
import { type JSX, useState } from 'react';
import { Link, useSearchParams } from 'wouter';
import { useCatalog, useModelName } from '../catalog.ts';
import { UNKNOWN, absolute, clock, count, latency, money } from '../format.ts';
import { Icon } from '../parts/Icon.tsx';
import { Empty, Fault, Head, Panel, Waiting } from '../parts/Panel.tsx';
import { CsvLink, When } from '../parts/Text.tsx';
import { useTitle } from '../parts/hooks.ts';
import { clockError, server } from '../server.ts';
import { t } from '../texts/index.ts';
import { OneRequest } from './OneRequest.tsx';

const OUTCOMES = ['failed', 'success', 'timeout', 'rate-limited', 'provider-rate-limited', 'upstream', 'connection', 'empty-reply', 'invalid-reply', 'context-length', 'bad-request', 'authentication', 'payment', 'account-limit', 'refused', 'rejected', 'not-found', 'refused-answer', 'cancelled'];
const RANGES: Record<string, number> = { '1h': 36e5, '24h': 864e5, '7d': 6048e5 };
const NAMES = ['range', 'variant', 'outcome', 'model', 'provider', 'task', 'user', 'rollout', 'slower', 'counted'] as const;
type Name = (typeof NAMES)[number];

/** The filters of the address, and those that mean nothing; a range ends at `now`. */
function read(search: URLSearchParams, now: number, tasks: string[], models: string[], providers: string[]): { filter: ListRequests; bad: [string, string][]; on: number } {
  const bad: [string, string][] = [];
  const known = (name: Name, fits: (value: string) => boolean): string | undefined => {
    const value = search.get(name);
    if (!value) return undefined;
    if (fits(value)) return value;
    bad.push([name, value]);
    return undefined;
  };
  const number = (value: string | undefined): number | undefined => (value === undefined ? undefined : Number(value));
  const isNumber = (value: string): boolean => /^\d+$/.test(value);
  const isMoment = (value: string | undefined): boolean => value !== undefined && !Number.isNaN(Date.parse(value));
  const range = known('range', (value) => Object.hasOwn(RANGES, value) || (value.includes('..') && value.split('..').length === 2 && value.split('..').every(isMoment)));
  const [from, to] = range?.includes('..') ? range.split('..').map((end) => new Date(end)) : [range && new Date(now - RANGES[range]!), undefined];
  const counted = known('counted', (value) => value === 'true' || value === 'false');
  const filter: ListRequests = {
    from: from || undefined,
    to,
    variant: known('variant', (value) => value === 'control' || value === 'candidate') as ListRequests['variant'],
    outcome: known('outcome', (value) => OUTCOMES.includes(value)),
    model: known('model', (value) => models.length === 0 || models.includes(value)),
    provider: known('provider', (value) => providers.length === 0 || providers.includes(value)),
    task: known('task', (value) => tasks.length === 0 || tasks.includes(value)),
    userId: number(known('user', isNumber)),
    rolloutId: known('rollout', () => true),
    slowerThanMs: number(known('slower', isNumber)),
    counted: counted === undefined ? undefined : counted === 'true',
  };
  return { filter, bad, on: NAMES.filter((name) => search.get(name)).length };
}

export function Requests({ id }: { id: string | undefined }): JSX.Element {
  useTitle(`${t.requests.title} · modelramp`);
  return id ? <OneRequest id={id} /> : <List />;
}

function List(): JSX.Element {
  const [search] = useSearchParams();
  const catalog = useCatalog();
  const tasks = catalog?.tasks.map(({ name }) => name) ?? [];
  const models = catalog?.models.map(({ name }) => name) ?? [];
  const providers = [...new Set(catalog?.models.map(({ provider }) => provider))];
  // Stands still until somebody asks anew: another filter is another list, which begins with its first page. What a browser's
  // clock is off is known from the first answer on; in whole minutes, as it is never measured the same twice.
  const [asked, setAsked] = useState(Date.now);
  const now = asked - Math.round(clockError() / 60_000) * 60_000;
  const { filter, bad, on } = read(search, now, tasks, models, providers);
  const { data, error, refetch, fetchNextPage, hasNextPage, isFetching } = useInfiniteQuery({
    queryKey: ['requests.list', filter],
    queryFn: ({ pageParam }) => server.requests.list.query({ ...filter, ...(pageParam && { cursor: pageParam }) }),
    initialPageParam: '',
    getNextPageParam: (page) => page.nextCursor ?? undefined,
    placeholderData: (before) => before,
  });
  const anew = (): void => {
    setAsked(Date.now());
    void refetch();
  };
  const rows = data?.pages.flatMap((page) => page.rows);
  const first = data?.pages[0];
  const last = data?.pages.at(-1);
  return (
    <>
      <Head title={t.requests.title} asks={['requests.list', filter]}>
        <CsvLink file="requests" input={filter} />
        <button type="button" className="btn small" onClick={anew} disabled={isFetching}>{t.shell.reload}</button>
      </Head>
      <Filters tasks={tasks} providers={providers} />
      {bad.map(([name, value]) => <p key={name} className="banner watch"><Icon name="watch" />{t.requests.bad(name, value)}</p>)}
      {first && <Newer filter={filter} since={first.upTo} show={anew} />}
      <Panel title={first?.count ? t.requests.found(`${count(first.count.value)}${first.count.exact ? '' : '+'}`) : t.requests.what} note={first && <>{t.shell.asOf(clock(first.upTo))}</>}>
        {error ? <Fault error={error} again={() => void refetch()} /> : !rows ? <Waiting rows={8} /> : rows.length === 0 && !hasNextPage ? (
          <Empty text={t.requests.empty}>{on > 0 && <p>{t.requests.filtersOn(on)} <Link className="btn small" href="/requests">{t.shell.clear}</Link></p>}</Empty>
        ) : (
          <>
            {rows.length > 0 && <Rows rows={rows} />}
            {last?.searchedTo && <p className="pad small muted">{t.requests.searchedTo(absolute(last.searchedTo))}</p>}
            {hasNextPage && <div className="pad"><button type="button" className="btn" disabled={isFetching} onClick={() => void fetchNextPage()}>{t.requests.more}</button></div>}
          </>
        )}
      </Panel>
    </>
  );
}

/** How many have come since the list was asked for: they are shown when somebody wants to see them, so no row moves under the
 * pointer. */
function Newer({ filter, since, show }: { filter: ListRequests; since: Date; show: () => void }): JSX.Element | null {
  const { data } = useQuery({
    queryKey: ['requests.newer', filter, since],
    queryFn: () => server.requests.list.query({ ...filter, from: since, limit: 1 }),
    refetchInterval: 5000,
    enabled: filter.to === undefined,
  });
  const newer = data?.count?.value ?? 0;
  if (newer === 0) return null;
  return <p className="banner quiet" role="status"><button type="button" className="btn small" onClick={show}>{t.requests.newer(`${count(newer)}${data?.count?.exact ? '' : '+'}`)}</button></p>;
}

/** How an attempt ended, in words; a code that this page does not know is shown as it is. */
export const outcomeWord = (outcome: string): string => t.outcomes[outcome] ?? outcome;

/** Rows that any page may show. */
export function Rows({ rows }: { rows: RequestRow[] }): JSX.Element {
  const name = useModelName();
  return (
    <table className="rows requests">
      <thead>
        <tr><th scope="col">{t.requests.at}</th><th scope="col">{t.requests.task}</th><th scope="col">{t.requests.side}</th><th scope="col">{t.requests.attempts}</th><th scope="col" className="r">{t.requests.user}</th><th scope="col" className="r">{t.requests.time}</th><th scope="col" className="r">{t.requests.cost}</th></tr>
      </thead>
      <tbody>
        {rows.map((row) => (
          <tr key={row.requestId}>
            <th scope="row"><Link href={`/requests/${row.requestId}`} data-row><When at={row.at} exact /><span className="sr"> {row.requestId}</span></Link></th>
            <td data-label={t.requests.task}>{row.task}</td>
            <td data-label={t.requests.side}><Side variant={row.variant} /></td>
            <td data-label={t.requests.attempts} className="long">{row.attempts.map(({ model, outcome }, place) => (
              <span key={place} className="attempt">
                {place > 0 && ' → '}{name(model)} {outcome === 'success' ? <Icon name="good" className="g" /> : <Icon name="bad" className="b" />}
                <span className={outcome === 'success' ? 'sr' : ''} title={outcome}> {outcomeWord(outcome)}</span>
              </span>
            ))}</td>
            <td data-label={t.requests.user} className="r">{row.userId ?? UNKNOWN}</td>
            <td data-label={t.requests.time} className="r">{latency(row.latencyMs)}</td>
            <td data-label={t.requests.cost} className="r">{row.costMicrodollars > 0 ? money(row.costMicrodollars) : UNKNOWN}</td>
          </tr>
        ))}
      </tbody>
    </table>
  );
}

/** The side, told apart by shape and word, not colour alone. */
export const Side = ({ variant }: { variant: 'control' | 'candidate' }): JSX.Element => (
  <span className="key">
    <svg viewBox="0 0 10 10" aria-hidden="true">{variant === 'candidate' ? <circle className="m-cand" cx="5" cy="5" r="4" /> : <rect className="m-ctrl" x="2" y="2" width="6" height="6" />}</svg>
    {t.compare[variant]}
  </span>
);

function Filters({ tasks, providers }: { tasks: string[]; providers: string[] }): JSX.Element {
  const [search, setSearch] = useSearchParams();
  const catalog = useCatalog();
  const set = (name: Name, value: string): void =>
    setSearch((before) => {
      if (value) before.set(name, value);
      else before.delete(name);
      return before;
    }, { replace: true });
  // A range from a link, or one that means nothing, is shown as it is, not as “any”.
  const range = search.get('range');
  const ranges = [...Object.keys(RANGES), ...(range && !Object.hasOwn(RANGES, range) ? [range] : [])];
  const choice = (name: Name, title: string, values: [string, string][], first = false): JSX.Element => (
    <label className="labelled inline">
      {title}
      <select className="field" data-filter={first ? '' : undefined} value={search.get(name) ?? ''} onChange={(event) => set(name, event.target.value)}>
        <option value="">{t.requests.any}</option>
        {values.map(([value, text]) => <option key={value} value={value}>{text}</option>)}
      </select>
    </label>
  );
  return (
    <form className="row filters" aria-label={t.requests.filter} onSubmit={(event) => event.preventDefault()}>
      {choice('range', t.requests.at, ranges.map((one) => [one, one]), true)}
      {choice('variant', t.requests.side, [['candidate', t.compare.candidate], ['control', t.compare.control]])}
      {choice('outcome', t.requests.outcome, OUTCOMES.map((outcome) => [outcome, outcomeWord(outcome)]))}
      {choice('model', t.requests.model, catalog?.models.map(({ name, displayName }) => [name, displayName]) ?? [])}
      {providers.length > 1 && choice('provider', t.requests.provider, providers.map((provider) => [provider, provider]))}
      {choice('task', t.requests.task, tasks.map((task) => [task, task]))}
      {choice('counted', t.requests.countedTitle, [['true', t.requests.yes], ['false', t.requests.no]])}
      <label className="labelled inline">{t.requests.user}<input className="field num" inputMode="numeric" value={search.get('user') ?? ''} onChange={(event) => set('user', event.target.value)} /></label>
      <label className="labelled inline">{t.requests.slower}<input className="field num" inputMode="numeric" value={search.get('slower') ?? ''} onChange={(event) => set('slower', event.target.value)} /></label>
      {search.get('rollout') && (
        <p className="only">{t.requests.rollout} <Link href={`/rollouts/${search.get('rollout')}`} className="mono">{search.get('rollout')!.slice(0, 8)}</Link> <button type="button" className="btn small" onClick={() => set('rollout', '')}>{t.requests.anyRollout}</button></p>
      )}
    </form>
  );
}

/** The newest requests of one user, for the page that explains. */
export function LastRequests({ userId }: { userId: number }): JSX.Element {
  const { data, error } = useQuery({ queryKey: ['requests.list', 'user', userId], queryFn: () => server.requests.list.query({ userId, limit: 10 }), refetchInterval: 10_000 });
  return (
    <Panel title={t.explain.last} side={<Link className="small" href={`/requests?user=${userId}`}>{t.overview.allOf}</Link>}>
      {error ? <Fault error={error} /> : !data ? <Waiting /> : data.rows.length === 0 ? <Empty text={t.requests.empty} /> : <Rows rows={data.rows} />}
    </Panel>
  );
}
