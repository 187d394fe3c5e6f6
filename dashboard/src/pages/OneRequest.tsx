// One request: every attempt on one time line, what came after each, and what counted.
import { useQuery } from '@tanstack/react-query';
import type { RequestDetails } from 'modelramp-schema';
import type { JSX } from 'react';
import { Link } from 'wouter';
import { useModelName } from '../catalog.ts';
import { UNKNOWN, absolute, count, latency, money } from '../format.ts';
import { Icon, Tag } from '../parts/Icon.tsx';
import { Fault, Head, Panel, Waiting } from '../parts/Panel.tsx';
import { server } from '../server.ts';
import { t } from '../texts/index.ts';
import { Side } from './Requests.tsx';

export function OneRequest({ id }: { id: string }): JSX.Element {
  const { data, error, refetch } = useQuery({ queryKey: ['requests.get', id], queryFn: () => server.requests.get.query({ requestId: id }) });
  return (
    <>
      <p className="crumb"><Link href="/requests">{t.requests.back}</Link> / <span className="mono">{id}</span></p>
      <Head title={t.requests.opened} asks={['requests.get', { requestId: id }]} />
      {error ? <Fault error={error} again={() => void refetch()} /> : !data ? <Waiting /> : <Shown request={data} />}
    </>
  );
}

function Shown({ request }: { request: RequestDetails }): JSX.Element {
  return (
    <>
      <Panel title={`${request.task} · ${absolute(request.at)}`} side={<Tag tone={request.outcome === 'success' ? 'good' : 'bad'}>{request.outcome === 'success' ? t.requests.success : request.outcome}</Tag>}>
        <dl className="facts pad">
          <dt>{t.requests.side}</dt>
          <dd><Side variant={request.variant} /></dd>
          <dt>{t.requests.user}</dt>
          <dd>{request.userId === null ? UNKNOWN : <Link href={`/explain?user=${request.userId}&task=${encodeURIComponent(request.task)}`}>{t.timeline.user(`${request.userId}`)}</Link>}</dd>
          <dt>{t.requests.rollout}</dt>
          <dd>{request.rolloutId ? <Link href={`/rollouts/${request.rolloutId}`}>{request.rolloutId}</Link> : UNKNOWN}</dd>
          <dt>{t.requests.time}</dt>
          <dd>{latency(request.latencyMs)}{request.firstTokenMs !== null && `, ${t.requests.firstToken(latency(request.firstTokenMs))}`}</dd>
          <dt>{t.requests.tokens}</dt>
          <dd>{count(request.promptTokens)} → {count(request.completionTokens)}</dd>
          <dt>{t.requests.cost}</dt>
          <dd>{request.costMicrodollars > 0 ? money(request.costMicrodollars) : UNKNOWN}</dd>
          <dt>{t.requests.countedTitle}</dt>
          <dd>{request.counted ? t.requests.yes : t.requests.no}</dd>
        </dl>
      </Panel>
      <Attempts request={request} />
      <p className="small muted">{t.requests.noTexts}</p>
    </>
  );
}

function Attempts({ request }: { request: RequestDetails }): JSX.Element {
  const name = useModelName();
  const from = Math.min(...request.details.map(({ startedAt }) => startedAt.getTime()));
  const whole = Math.max(1, ...request.details.map(({ startedAt, latencyMs }) => startedAt.getTime() + latencyMs - from));
  return (
    <Panel title={t.requests.attempts}>
      <ol className="feed">
        {request.details.map((attempt) => {
          const failed = attempt.outcome !== 'success';
          const start = (100 * (attempt.startedAt.getTime() - from)) / whole;
          return (
            <li key={`${attempt.position} ${attempt.startedAt.getTime()}`}>
              <Icon name={failed ? 'bad' : 'good'} className={failed ? 'b' : 'g'} />
              <div>
                <p><b className="strong">{name(attempt.model)}</b>{attempt.provider && `, ${attempt.provider}`}: {failed ? attempt.outcome : t.requests.success}, {latency(attempt.latencyMs)}</p>
                <svg className="bar" viewBox="0 0 100 8" preserveAspectRatio="none" aria-hidden="true">
                  <rect className="s-bg" width="100" height="8" />
                  <rect className={failed ? 'failed' : 'fill'} x={start} width={Math.max(0.6, (100 * attempt.latencyMs) / whole)} height="8" />
                </svg>
                <p className="who">
                  {t.requests.after[attempt.then]} · {attempt.counted ? t.requests.yes : t.requests.no}
                  {attempt.wasSlow && ` · ${t.requests.wasSlow}`}
                  {attempt.promptTokens + attempt.completionTokens > 0 && ` · ${count(attempt.promptTokens)} → ${count(attempt.completionTokens)} ${t.requests.tokens.toLowerCase()}`}
                </p>
              </div>
            </li>
          );
        })}
      </ol>
    </Panel>
  );
}
