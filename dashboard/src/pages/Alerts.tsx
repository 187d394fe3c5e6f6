// Was somebody told? The channels and how they do, then each alert with what every channel made of it.
import { useInfiniteQuery, useMutation, useQuery, useQueryClient } from '@tanstack/react-query';
import type { AlertRow, ChannelName, Severity } from 'modelramp-schema';
import type { JSX } from 'react';
import { Link, useSearchParams } from 'wouter';
import { clock, count } from '../format.ts';
import type { Tone } from '../judgement.ts';
import { useLive } from '../live.ts';
import { note } from '../notices.ts';
import { Icon, Tag } from '../parts/Icon.tsx';
import { Empty, Fault, Head, Panel, Waiting } from '../parts/Panel.tsx';
import { CsvLink, When } from '../parts/Text.tsx';
import { useAnew, useTitle } from '../parts/hooks.ts';
import { server } from '../server.ts';
import { useMayChange } from '../session.ts';
import { t } from '../texts/index.ts';

const SEVERITIES: Severity[] = ['info', 'warning', 'critical'];
const TONES: Record<Severity, Tone> = { info: 'quiet', warning: 'watch', critical: 'bad' };

export function Alerts(): JSX.Element {
  const [search, setSearch] = useSearchParams();
  const asked = search.get('severity');
  const severity = SEVERITIES.find((known) => known === asked);
  const { pulse } = useLive();
  useTitle(`${t.alerts.title} · modelramp`);
  const { data, error, refetch, hasNextPage, fetchNextPage, isFetching } = useInfiniteQuery({
    queryKey: ['alerts.list', severity],
    queryFn: ({ pageParam }) => server.alerts.list.query({ ...(severity && { severity }), ...(pageParam && { cursor: pageParam }) }),
    initialPageParam: '',
    getNextPageParam: (page) => page.nextCursor ?? undefined,
    placeholderData: (before) => before,
  });
  // The audit grows, or the outbox moves.
  useAnew(pulse?.alerts ? `${pulse.auditVersion} ${pulse.alerts.waiting}` : null, refetch);
  const rows = data?.pages.flatMap((page) => page.rows);
  return (
    <>
      <Head title={t.alerts.title} asks={['alerts.list', severity ? { severity } : {}]}>
        <CsvLink file="alerts" input={severity ? { severity } : {}} />
      </Head>
      <Channels />
      {asked && !severity && <p className="banner watch">{t.requests.bad('severity', asked)}</p>}
      <Panel
        title={t.alerts.sent}
        side={
          <label className="labelled inline small">
            <span className="sr">{t.alerts.severity}</span>
            <select className="field" data-filter value={severity ?? ''} onChange={(event) => setSearch(event.target.value ? { severity: event.target.value } : {}, { replace: true })}>
              <option value="">{t.alerts.severity}: {t.requests.any}</option>
              {SEVERITIES.map((one) => <option key={one} value={one}>{t.alerts.severities[one]}</option>)}
            </select>
          </label>
        }
      >
        {error ? <Fault error={error} again={() => void refetch()} /> : !rows ? <Waiting /> : rows.length === 0 ? <Empty text={t.alerts.none} /> : (
          <ol className="feed">{rows.map((row) => <Alert key={row.id} row={row} />)}</ol>
        )}
        {hasNextPage && <div className="pad"><button type="button" className="btn" disabled={isFetching} onClick={() => void fetchNextPage()}>{t.requests.more}</button></div>}
      </Panel>
    </>
  );
}

function Alert({ row }: { row: AlertRow }): JSX.Element {
  const tone = TONES[row.severity];
  return (
    <li>
      <Icon name={tone} className={tone === 'watch' ? 'w' : tone === 'bad' ? 'b' : ''} />
      <div>
        <p>{row.rolloutId ? <Link href={`/rollouts/${row.rolloutId}`} data-row>{row.title}</Link> : row.title}</p>
        <p className="who">{t.alerts.severities[row.severity]} · <When at={row.at} /></p>
        <p className="row">
          {row.deliveries.length === 0 && <span className="small muted">{t.alerts.nobody}</span>}
          {row.deliveries.map((delivery) => (
            <span key={delivery.channel} title={delivery.error ?? undefined}>
              <Tag tone={delivery.state === 'delivered' ? 'good' : 'watch'}>
                {`${delivery.channel}: ${delivery.deliveredAt ? `${t.alerts.delivered} ${clock(delivery.deliveredAt)}` : `${t.alerts.waitingState}, ${t.alerts.tries(delivery.attempts)}`}`}
              </Tag>
            </span>
          ))}
        </p>
        <details className="raw"><summary aria-label={`${t.alerts.text}: ${row.title}`}>{t.alerts.text}</summary><p className="small pre">{row.text}</p></details>
      </div>
    </li>
  );
}

function Channels(): JSX.Element {
  const mayChange = useMayChange();
  const queries = useQueryClient();
  const { pulse } = useLive();
  const { data, error, refetch } = useQuery({ queryKey: ['alerts.channels', pulse?.alerts?.waiting], queryFn: () => server.alerts.channels.query(), placeholderData: (before) => before });
  const test = useMutation({
    mutationFn: (channel: ChannelName) => server.alerts.test.mutate({ channel }),
    onSuccess: async (results) => {
      for (const { channel, error: failed } of results) note({ tone: failed ? 'bad' : 'good', text: failed ? `${channel}: ${failed}` : t.alerts.tested(channel) });
      await queries.invalidateQueries({ queryKey: ['alerts.channels'] });
    },
  });
  return (
    <Panel title={t.alerts.channels}>
      {test.error && <Fault error={test.error} />}
      {error ? <Fault error={error} again={() => void refetch()} /> : !data ? <Waiting /> : (
        <table className="rows">
          <thead><tr><th scope="col">{t.alerts.channel}</th><th scope="col">{t.alerts.setUp}</th><th scope="col">{t.alerts.lastDelivered}</th><th scope="col" className="r">{t.alerts.waiting}</th><th scope="col">{t.alerts.lastError}</th>{mayChange && <th scope="col"><span className="sr">{t.alerts.test}</span></th>}</tr></thead>
          <tbody>
            {data.map((channel) => (
              <tr key={channel.name}>
                <th scope="row">{channel.name}</th>
                <td data-label={t.alerts.setUp}>{channel.setUp ? <Tag tone="good">{t.alerts.yes}</Tag> : <span className="tag">{t.alerts.no}</span>}</td>
                <td data-label={t.alerts.lastDelivered}>{channel.lastDeliveredAt ? <When at={channel.lastDeliveredAt} /> : '–'}</td>
                <td data-label={t.alerts.waiting} className="r">{channel.setUp ? count(channel.waiting) : '–'}</td>
                <td data-label={t.alerts.lastError} className="long">{channel.lastError ?? '–'}</td>
                {mayChange && <td>{channel.setUp && <button type="button" className="btn small" aria-label={`${t.alerts.test} ${channel.name}`} disabled={test.isPending} onClick={() => test.mutate(channel.name)}>{t.alerts.test}</button>}</td>}
              </tr>
            ))}
          </tbody>
        </table>
      )}
    </Panel>
  );
}
