// All rollouts, the newest first.
import { useQuery } from '@tanstack/react-query';
import type { JSX } from 'react';
import { Link, useLocation, useSearchParams } from 'wouter';
import { share } from '../format.ts';
import { situationOf, toneOf } from '../judgement.ts';
import { useLive } from '../live.ts';
import { Tag } from '../parts/Icon.tsx';
import { Empty, Fault, Head, Panel, Waiting } from '../parts/Panel.tsx';
import { CsvButton, When, actorName, csv } from '../parts/Text.tsx';
import { reasonWords } from '../parts/Feed.tsx';
import { useTitle } from '../parts/hooks.ts';
import { server } from '../server.ts';
import { useMayChange } from '../session.ts';
import { t } from '../texts/index.ts';

const STATES = ['all', 'live', 'ended'] as const;

export function Rollouts(): JSX.Element {
  const { rollouts } = useLive();
  const [search] = useSearchParams();
  const [, go] = useLocation();
  const mayChange = useMayChange();
  useTitle(`${t.pages.rollouts} · modelramp`);
  const asked = search.get('state') ?? 'all';
  const state = STATES.find((known) => known === asked) ?? 'all';
  const moved = rollouts.map(({ id, version }) => `${id}${version}`).join();
  const { data, error, refetch } = useQuery({ queryKey: ['rollout.list', 'all', moved], queryFn: () => server.rollout.list.query({ all: true }), placeholderData: (before) => before });
  const shown = data?.filter(({ live }) => state === 'all' || live === (state === 'live'));
  return (
    <>
      <Head title={t.list.title} asks={['rollout.list', { all: true }]}>
        {shown && <CsvButton name="rollouts" make={() => csv(['id', 'plan', 'state', 'stage', 'share', 'started', 'ended', 'changed by', 'reason'], shown.map((one) => [one.id, one.plan, one.state.name, one.stage, one.share, one.startedAt, one.endedAt, one.changedBy, one.reason]))} />}
        {mayChange && <Link className="btn primary" href="/rollouts/new">{t.actions.start}</Link>}
      </Head>
      <div className="row filters" role="group" aria-label={t.list.state}>
        {STATES.map((one) => (
          <Link key={one} className="btn small" href={one === 'all' ? '/rollouts' : `/rollouts?state=${one}`} aria-current={one === state ? 'true' : undefined}>
            {{ all: t.list.all, live: t.list.live, ended: t.list.endedOnes }[one]}
          </Link>
        ))}
      </div>
      {asked !== state && <p className="banner watch">{t.list.badFilter(asked)}</p>}
      <Panel title={t.list.title}>
        {error ? <Fault error={error} again={() => void refetch()} /> : !shown ? <Waiting /> : shown.length === 0 ? (
          <Empty text={state === 'live' ? t.list.noneLive : t.list.empty}><p className="muted">{t.list.emptyNext}</p></Empty>
        ) : (
          <table className="rows">
            <thead>
              <tr><th scope="col">{t.list.plan}</th><th scope="col">{t.list.state}</th><th scope="col" className="r">{t.list.share}</th><th scope="col" className="r">{t.list.stage}</th><th scope="col">{t.list.began}</th><th scope="col">{t.list.ended}</th><th scope="col">{t.list.by}</th></tr>
            </thead>
            <tbody>
              {shown.map((one) => {
                const kind = situationOf(one);
                return (
                  <tr key={one.id} onClick={() => go(`/rollouts/${one.id}`)}>
                    <th scope="row"><Link href={`/rollouts/${one.id}`} data-row>{one.plan}</Link> <span className="mono muted">{one.id.slice(0, 8)}</span></th>
                    <td data-label={t.list.state}><Tag tone={toneOf(kind)}>{t.level.word[kind]}</Tag></td>
                    <td data-label={t.list.share} className="r">{share(one.share)}</td>
                    <td data-label={t.list.stage} className="r">{t.list.of(one.stage, one.stages)}</td>
                    <td data-label={t.list.began}><When at={one.startedAt} /></td>
                    <td data-label={t.list.ended}>{one.endedAt ? <When at={one.endedAt} /> : '–'}</td>
                    <td data-label={t.list.by} className="long">{actorName(one.changedBy)}: {reasonWords(one.reason)}</td>
                  </tr>
                );
              })}
            </tbody>
          </table>
        )}
      </Panel>
    </>
  );
}
