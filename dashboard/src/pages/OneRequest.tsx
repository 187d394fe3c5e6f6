// One request: every attempt on one time line, what went wrong and what to do, what came after, and the texts where they are kept.
import { useMutation, useQuery } from '@tanstack/react-query';
import type { Attempt, OpenedTexts, RequestDetails } from 'modelramp-schema';
import type { JSX } from 'react';
import { Link } from 'wouter';
import { useModelName } from '../catalog.ts';
import { UNKNOWN, absolute, count, latency, money } from '../format.ts';
import { Icon, Tag } from '../parts/Icon.tsx';
import { Fault, Head, Panel, Waiting } from '../parts/Panel.tsx';
import { server } from '../server.ts';
import { useMayChange } from '../session.ts';
import { t } from '../texts/index.ts';
import { Side, outcomeWord } from './Requests.tsx';

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
      <Panel title={`${request.task} · ${absolute(request.at)}`} side={<Tag tone={request.outcome === 'success' ? 'good' : 'bad'}>{outcomeWord(request.outcome)}</Tag>}>
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
      <Texts request={request} />
    </>
  );
}

function Attempts({ request }: { request: RequestDetails }): JSX.Element {
  const from = Math.min(...request.details.map(({ startedAt }) => startedAt.getTime()));
  const whole = Math.max(1, ...request.details.map(({ startedAt, latencyMs }) => startedAt.getTime() + latencyMs - from));
  return (
    <Panel title={t.requests.attempts}>
      <ol className="feed">
        {request.details.map((attempt) => <One key={`${attempt.position} ${attempt.startedAt.getTime()}`} attempt={attempt} from={from} whole={whole} />)}
      </ol>
    </Panel>
  );
}

function One({ attempt, from, whole }: { attempt: Attempt; from: number; whole: number }): JSX.Element {
  const name = useModelName();
  const failed = attempt.outcome !== 'success';
  const start = (100 * (attempt.startedAt.getTime() - from)) / whole;
  const [what, todo] = (attempt.cause !== null && t.causes[attempt.cause]) || [attempt.cause, null];
  const facts = [
    attempt.status !== null && t.requests.status(attempt.status),
    attempt.finishReason !== null && t.requests.finish(t.finish[attempt.finishReason] ?? attempt.finishReason),
    attempt.firstTokenMs !== null && t.requests.firstToken(latency(attempt.firstTokenMs)),
    attempt.promptTokens + attempt.completionTokens > 0 && `${count(attempt.promptTokens)} → ${count(attempt.completionTokens)} ${t.requests.tokens.toLowerCase()}`,
    attempt.counted ? t.requests.yes : t.requests.no,
    attempt.wasSlow && t.requests.wasSlow,
  ].filter((fact) => typeof fact === 'string');
  return (
    <li>
      <Icon name={failed ? 'bad' : 'good'} className={failed ? 'b' : 'g'} />
      <div>
        <p><b className="strong">{name(attempt.model)}</b>{attempt.provider && `, ${attempt.provider}`}: <span title={attempt.cause ?? attempt.outcome}>{outcomeWord(attempt.outcome)}</span>, {latency(attempt.latencyMs)}</p>
        <svg className="bar" viewBox="0 0 100 8" preserveAspectRatio="none" aria-hidden="true">
          <rect className="s-bg" width="100" height="8" />
          <rect className={failed ? 'failed' : 'fill'} x={start} width={Math.max(0.6, (100 * attempt.latencyMs) / whole)} height="8" />
        </svg>
        {what !== null && <p className="small">{what} {todo}</p>}
        <p className="who">{[...facts, t.requests.after[attempt.then]].join(' · ')}</p>
      </div>
    </li>
  );
}

/** Prompt and answer: behind a button, as the audit says who opened them. */
function Texts({ request }: { request: RequestDetails }): JSX.Element {
  const isAdmin = useMayChange();
  const open = useMutation({ mutationFn: () => server.requests.openTexts.mutate({ requestId: request.requestId }) });
  if (request.noTexts) return <p className="small muted">{t.requests.noTexts[request.noTexts]}</p>;
  if (!isAdmin) return <p className="small muted">{t.requests.textsFor}</p>;
  return (
    <Panel title={t.requests.texts} note={open.data ? undefined : t.requests.audited}>
      {open.error && <Fault error={open.error} again={() => open.mutate()} />}
      {open.data
        ? open.data.map((texts, place) => <Said key={place} texts={texts} />)
        : <div className="pad"><button type="button" className="btn" disabled={open.isPending} onClick={() => open.mutate()}>{t.requests.openTexts}</button></div>}
    </Panel>
  );
}

function Said({ texts }: { texts: OpenedTexts }): JSX.Element {
  return (
    <div className="pad stack">
      <dl className="said">
        {texts.prompt.map(({ role, text }, place) => (
          <div key={place}>
            <dt>{role}</dt>
            <dd className="pre" dir="auto">{text}</dd>
          </div>
        ))}
        <div>
          <dt>{t.requests.answer}</dt>
          <dd className="pre" dir="auto">{texts.answer ?? t.requests.noAnswer}</dd>
        </div>
      </dl>
      {texts.cut && <p className="small muted">{t.requests.cut}</p>}
      {texts.masked > 0 && <p className="small muted">{t.requests.masked(texts.masked)}</p>}
    </div>
  );
}
