// Which model a user gets for a task, and why.
import { useQuery } from '@tanstack/react-query';
import { type FormEvent, type JSX, useState } from 'react';
import { Link, useSearchParams } from 'wouter';
import { useCatalog, useModelName } from '../catalog.ts';
import { UNKNOWN, count, share } from '../format.ts';
import { useLive } from '../live.ts';
import { Empty, Fault, Head, Panel, Waiting } from '../parts/Panel.tsx';
import { useTitle } from '../parts/hooks.ts';
import { server } from '../server.ts';
import { useWho } from '../session.ts';
import { t } from '../texts/index.ts';
import { LastRequests } from './Requests.tsx';

export function Explain(): JSX.Element {
  const [search, setSearch] = useSearchParams();
  const catalog = useCatalog();
  const who = useWho();
  const user = search.get('user') ?? '';
  const task = search.get('task') ?? catalog?.tasks[0]?.name ?? '';
  const [written, setWritten] = useState(user);
  useTitle(`${t.explain.title} · modelramp`);
  const asked = /^\d+$/.test(user) ? Number(user) : who?.id;
  const input = { userId: asked, task };
  const ask = (event: FormEvent): void => {
    event.preventDefault();
    setSearch({ user: written.trim(), task });
  };
  const isNumber = /^\d+$/.test(user);
  return (
    <>
      <Head title={t.explain.title} asks={['models.explain', input]} />
      <p className="muted">{t.explain.hint}</p>
      <form className="row filters" onSubmit={ask}>
        <label className="labelled inline">{t.explain.user}<input className="field" title={t.explain.needUser} data-filter value={written} placeholder={`${who?.id ?? ''}`} onChange={(event) => setWritten(event.target.value)} /></label>
        <label className="labelled inline">
          {t.explain.task}
          <select className="field" value={task} onChange={(event) => setSearch({ ...(user && { user }), task: event.target.value })}>
            {catalog?.tasks.map(({ name }) => <option key={name}>{name}</option>)}
          </select>
        </label>
        <button type="submit" className="btn primary">{t.explain.ask}</button>
      </form>
      {user !== '' && !isNumber && <Found text={user} choose={(id) => { setWritten(`${id}`); setSearch({ user: `${id}`, task }); }} />}
      {task && (user === '' || isNumber) && asked !== undefined && <Answer userId={asked} task={task} />}
    </>
  );
}

/** Whom a name or an address may mean. */
function Found({ text, choose }: { text: string; choose: (id: number) => void }): JSX.Element {
  const { data, error } = useQuery({ queryKey: ['users.lookup', text], queryFn: () => server.users.lookup.query({ text }) });
  return (
    <Panel title={t.explain.found(text)}>
      {error ? <Fault error={error} /> : !data ? <Waiting rows={2} /> : data.length === 0 ? <Empty text={t.explain.nobody} /> : (
        <ul className="feed plainfeed">
          {data.map(({ id, name: known, email, role }) => (
            <li key={id}><p><button type="button" className="btn small" data-row onClick={() => choose(id)}>{t.timeline.user(`${id}`)}</button> {[known, email, role].filter(Boolean).map((one) => `\u2068${one}\u2069`).join(' · ')}</p></li>
          ))}
        </ul>
      )}
    </Panel>
  );
}

function Answer({ userId, task }: { userId: number; task: string }): JSX.Element {
  const name = useModelName();
  const { flags, rollouts } = useLive();
  const { data, error, refetch } = useQuery({ queryKey: ['models.explain', userId, task], queryFn: () => server.models.explain.query({ userId, task }), refetchInterval: 5000 });
  if (error) return <Fault error={error} again={() => void refetch()} />;
  if (!data) return <Waiting />;
  const algorithm = rollouts.find(({ id }) => id === data.rollout?.id)?.algorithm ?? flags?.algorithm;
  // Thousandths of a percent, or whole percents; other tools' buckets are no places.
  const place = data.bucket === null ? null : algorithm === 'legacy-modulo' ? data.bucket : algorithm === 'murmur3-100k' ? data.bucket / 1000 : null;
  return (
    <>
    <Panel title={t.explain.gets(userId, name(data.model))} className={data.variant}>
      <div className="pad stack">
        <p className="lead">{(t.explain.because[data.reason] ?? (() => data.why))(place === null ? UNKNOWN : share(place), share(data.share))}</p>
        {data.reason === 'share' && place !== null && <p className="small muted">{data.variant === 'candidate' ? t.explain.outBelow(share(place)) : t.explain.inFrom(share(place))}</p>}
        <Scale at={place} share={data.share} />
        <dl className="facts">
          <dt>{t.explain.variant}</dt>
          <dd>{t.compare[data.variant]}</dd>
          <dt>{t.explain.share}</dt>
          <dd>{share(data.share)}</dd>
          <dt>{t.explain.fallbacks}</dt>
          <dd>{data.fallbacks.map(name).join(t.models.comma) || t.explain.none}</dd>
          <dt>{t.explain.decidedBy}</dt>
          <dd>{data.decidedBy === 'rollout' && data.rollout ? <Link href={`/rollouts/${data.rollout.id}`}>{t.explain.by.rollout}: {data.rollout.plan}</Link> : t.explain.by[data.decidedBy]}</dd>
          <dt>{t.explain.bucket}</dt>
          <dd>{data.bucket === null ? UNKNOWN : count(data.bucket)}</dd>
        </dl>
        <details className="raw"><summary>{t.explain.inWords}</summary><p className="small">{data.why}</p></details>
      </div>
    </Panel>
    <LastRequests userId={userId} />
    </>
  );
}

/** Where the user falls between nobody and everybody, and how far the share reaches. */
function Scale({ at, share: now }: { at: number | null; share: number }): JSX.Element | null {
  if (at === null) return null;
  return (
    <svg className="scale" viewBox="0 0 100 10" preserveAspectRatio="none" aria-hidden="true">
      <rect className="s-bg" width="100" height="10" />
      <rect className="s-done" width={now} height="10" />
      <path className="at" d={`M${at} 0V10`} />
    </svg>
  );
}
