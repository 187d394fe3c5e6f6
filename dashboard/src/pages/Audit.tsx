// Who did what, when and why: rollouts, flags and keys in one list.
import { useInfiniteQuery } from '@tanstack/react-query';
import type { ChangeRow, ListChanges, Subject } from 'modelramp-schema';
import type { JSX } from 'react';
import { Link, useSearchParams } from 'wouter';
import { UNKNOWN, share } from '../format.ts';
import { useLive } from '../live.ts';
import { reasonWords } from '../parts/Feed.tsx';
import { Empty, Fault, Head, Panel, Waiting } from '../parts/Panel.tsx';
import { CsvLink, When, actorName } from '../parts/Text.tsx';
import { useAnew, useTitle } from '../parts/hooks.ts';
import { server } from '../server.ts';
import { useMayChange } from '../session.ts';
import { t } from '../texts/index.ts';

/** What viewers are told of too, and what only admins are. */
const SUBJECTS: Subject[] = ['rollout', 'flags', 'moves', 'users', 'sessions', 'texts'];
const FOR_ADMINS: Subject[] = ['keys', 'settings'];

/** The share of a place that a history keeps, where it has one. */
function shareOf(place: unknown): string | null {
  if (typeof place !== 'object' || place === null || !('share' in place)) return null;
  const of: unknown = place.share;
  // Histories keep the share as it is stored: a number, or thousandths beside their unit.
  return typeof of === 'number' ? share(of) : null;
}

/** What a key may have, in short. */
function limits(state: unknown): string | null {
  if (typeof state !== 'object' || state === null || !('limits' in state) || typeof state.limits !== 'object' || state.limits === null) return null;
  const set = Object.entries(state.limits).filter(([, value]) => value !== null);
  return set.map(([name, value]) => `${name} ${value}`).join(', ') || t.keys.noLimit;
}

/** A role or a setting, as it was noted. */
function word(state: unknown): string | null {
  if (typeof state === 'string') return state;
  return typeof state === 'object' && state !== null && 'role' in state && typeof state.role === 'string' ? state.role : null;
}

/** What was said of why, where the history has no column for it. */
function why({ reason, after }: ChangeRow): string {
  if (reason) return reasonWords(reason);
  return typeof after === 'object' && after !== null && 'reason' in after && typeof after.reason === 'string' ? after.reason : UNKNOWN;
}

function move({ before, after }: ChangeRow): string {
  const [from, to] = [before, after].map((state) => shareOf(state) ?? word(state) ?? limits(state)) as [string | null, string | null];
  if (to === null) return UNKNOWN;
  return from === null || from === to ? to : t.timeline.move(from, to);
}

const PAGES: Record<Subject, string | null> = { rollout: '/rollouts', flags: '/flags', moves: '/migration', keys: '/keys', settings: '/settings', users: null, sessions: null, texts: null };
const link = (row: ChangeRow): string | null =>
  row.subject === 'texts' && row.subjectId ? `/requests/${encodeURIComponent(row.subjectId)}` :
  row.subject === 'rollout' && row.subjectId ? `/rollouts/${row.subjectId}${row.version ? `?at=${row.version}` : ''}` : PAGES[row.subject];

export function Audit(): JSX.Element {
  const [search, setSearch] = useSearchParams();
  const { pulse } = useLive();
  useTitle(`${t.audit.title} · modelramp`);
  const asked = search.get('subject');
  const subjects = useMayChange() ? [...SUBJECTS, ...FOR_ADMINS] : SUBJECTS;
  const filter: ListChanges = { subject: subjects.find((known) => known === asked), actor: search.get('actor') || undefined };
  const { data, error, refetch, hasNextPage, fetchNextPage, isFetching } = useInfiniteQuery({
    queryKey: ['audit.list', filter],
    queryFn: ({ pageParam }) => server.audit.list.query({ ...filter, ...(pageParam && { cursor: pageParam }) }),
    initialPageParam: '',
    getNextPageParam: (page) => page.nextCursor ?? undefined,
    placeholderData: (before) => before,
  });
  useAnew(pulse?.auditVersion == null ? null : `${pulse.auditVersion}`, refetch);
  const rows = data?.pages.flatMap((page) => page.rows);
  const set = (name: string, value: string): void =>
    setSearch((before) => {
      if (value) before.set(name, value);
      else before.delete(name);
      return before;
    }, { replace: true });
  return (
    <>
      <Head title={t.audit.title} asks={['audit.list', filter]}>
        <CsvLink file="audit" input={filter} />
      </Head>
      <form className="row filters" onSubmit={(event) => event.preventDefault()}>
        <label className="labelled inline">
          {t.audit.subject}
          <select className="field" data-filter value={filter.subject ?? ''} onChange={(event) => set('subject', event.target.value)}>
            <option value="">{t.audit.any}</option>
            {subjects.map((one) => <option key={one} value={one}>{t.audit.subjects[one]}</option>)}
          </select>
        </label>
        <label className="labelled inline">{t.audit.actor}<input className="field" value={search.get('actor') ?? ''} onChange={(event) => set('actor', event.target.value)} /></label>
      </form>
      {asked && !filter.subject && <p className="banner watch">{t.requests.bad('subject', asked)}</p>}
      <Panel title={t.audit.scopeAll}>
        {error ? <Fault error={error} again={() => void refetch()} /> : !rows ? <Waiting /> : rows.length === 0 ? <Empty text={t.audit.empty} /> : (
          <table className="rows">
            <thead><tr><th scope="col">{t.audit.when}</th><th scope="col">{t.audit.who}</th><th scope="col">{t.audit.what}</th><th scope="col" className="r">{t.audit.change}</th><th scope="col">{t.audit.reason}</th><th scope="col" className="r">{t.audit.version}</th></tr></thead>
            <tbody>
              {rows.map((row) => {
                const to = link(row);
                const what = `${t.audit.subjects[row.subject]} ${row.subject === 'rollout' ? (row.subjectId?.slice(0, 8) ?? '') : (row.subjectId ?? '')}: ${row.action}`;
                return (
                  <tr key={row.id}>
                    <td data-label={t.audit.when}><When at={row.at} /></td>
                    <td data-label={t.audit.who}>{row.actor ? actorName(row.actor) : UNKNOWN}</td>
                    <th scope="row">{to ? <Link href={to} data-row>{what}</Link> : what}</th>
                    <td data-label={t.audit.change} className={move(row) === UNKNOWN ? 'r none' : 'r long'}>{move(row)}</td>
                    <td data-label={t.audit.reason} className={why(row) === UNKNOWN ? 'none' : 'long'}>{why(row)}</td>
                    <td data-label={t.audit.version} className={row.version === null ? 'r none' : 'r'}>{row.version ?? UNKNOWN}</td>
                  </tr>
                );
              })}
            </tbody>
          </table>
        )}
        {hasNextPage && <div className="pad"><button type="button" className="btn" disabled={isFetching} onClick={() => void fetchNextPage()}>{t.requests.more}</button></div>}
      </Panel>
    </>
  );
}
