// Which model is ill, and what of our accounts is left.
import { useQuery } from '@tanstack/react-query';
import type { ModelInfo, ModelList, ModelStatus, SpanInfo } from 'modelramp-schema';
import type { JSX } from 'react';
import { Link } from 'wouter';
import { useCatalog, useModelName } from '../catalog.ts';
import { UNKNOWN, count, duration, latency, rate } from '../format.ts';
import { useLive } from '../live.ts';
import { Icon, Tag } from '../parts/Icon.tsx';
import { OverTime } from '../parts/OverTime.tsx';
import { Empty, Fault, Head, Panel, Waiting } from '../parts/Panel.tsx';
import { When } from '../parts/Text.tsx';
import { useTitle } from '../parts/hooks.ts';
import { server } from '../server.ts';
import { t } from '../texts/index.ts';
import { outcomeWord } from './Requests.tsx';

export function Models({ name }: { name: string | undefined }): JSX.Element {
  const catalog = useCatalog();
  const say = useModelName();
  useTitle(`${name ? say(name) : t.models.title} · modelramp`);
  const figures = useQuery({ queryKey: ['aiMetrics.getModelBreakdown'], queryFn: () => server.aiMetrics.getModelBreakdown.query(), refetchInterval: 5000 });
  const { pulse } = useLive();
  const models = catalog?.models.filter((model) => !name || model.name === name);
  return (
    <>
      {name && <p className="crumb"><Link href="/models">{t.models.title}</Link> / <span className="mono">{name}</span></p>}
      <Head title={name ? say(name) : t.models.title} asks={['aiMetrics.getModelBreakdown']} />
      <Panel title={t.models.title} note={t.models.window}>
        {figures.error ? <Fault error={figures.error} again={() => void figures.refetch()} /> : !models ? <Waiting /> : (
          <table className="rows">
            <thead>
              <tr><th scope="col">{t.models.model}</th><th scope="col">{t.models.arm}</th><th scope="col" className="r">{t.models.requests}</th><th scope="col" className="r">{t.models.failed}</th><th scope="col" className="r">{t.models.mean}</th><th scope="col" className="r">{t.models.price}</th><th scope="col">{t.models.breaker}</th><th scope="col">{t.models.lastFault}</th></tr>
            </thead>
            <tbody>
              {models.map((model) => {
                const seen = figures.data?.models[model.name];
                const status = pulse?.models.find(({ model: one }) => one === model.name);
                const ill = seen && seen.requests >= 20 && seen.errorRate >= 5;
                return (
                  <tr key={model.name} className={ill ? 'alarm' : undefined}>
                    <th scope="row"><Link href={`/models/${encodeURIComponent(model.name)}`} data-row>{model.displayName}</Link><span className="sub">{model.provider}{model.id !== model.name && ` · ${model.id}`}</span><Found model={model} /></th>
                    <td data-label={t.models.arm}>{serves(model, catalog!)}</td>
                    <td data-label={t.models.requests} className="r">{seen ? count(seen.requests) : <span className="muted">{t.models.idle}</span>}</td>
                    <td data-label={t.models.failed} className="r">{seen ? rate(seen.errorRate / 100) : UNKNOWN}</td>
                    <td data-label={t.models.mean} className="r">{seen ? latency(seen.avgResponseTime) : UNKNOWN}</td>
                    <td data-label={t.models.price} className="r">{model.costTier === 'free' ? t.models.free : `$${model.prices.prompt} / $${model.prices.completion}`}</td>
                    <td data-label={t.models.breaker}><Breaker state={status?.breaker ?? null} />{status?.breakerOpenedAt && <span className="sub">{t.models.since} <When at={status.breakerOpenedAt} /></span>}{status?.inFlight ? <span className="sub">{t.models.inFlight(count(status.inFlight))}</span> : null}{status?.restsUntil && <span className="sub w">{t.models.rests} <When at={status.restsUntil} /></span>}</td>
                    <td data-label={t.models.lastFault}>{status?.lastFault ? <Link href={`/requests?model=${encodeURIComponent(model.name)}&outcome=${status.lastFault.outcome}`} title={status.lastFault.outcome}>{outcomeWord(status.lastFault.outcome)}<span className="sub"><When at={status.lastFault.at} ago /></span></Link> : UNKNOWN}</td>
                  </tr>
                );
              })}
            </tbody>
          </table>
        )}
      </Panel>
      <OverTime name={name} />
      {!name && <Quota />}
      {!name && catalog && <Tasks catalog={catalog} />}
    </>
  );
}

function Breaker({ state }: { state: ModelStatus['breaker'] }): JSX.Element {
  if (!state) return <span className="muted">{t.models.noBreaker}</span>;
  return <Tag tone={state === 'closed' ? 'good' : state === 'open' ? 'bad' : 'watch'}>{t.models.state[state]}</Tag>;
}

/** What its provider told of it when the catalog was last compared with it. */
function Found({ model: { watch, prices } }: { model: ModelInfo }): JSX.Element | null {
  if (!watch) return null;
  const found = [
    watch.listing === 'gone' && t.models.watch.gone,
    watch.listing === 'missing' && t.models.watch.missing,
    watch.retiresOn && t.models.watch.retires(watch.retiresOn),
    watch.prices && t.models.watch.prices(`$${watch.prices.prompt} / $${watch.prices.completion}`, `$${prices.prompt} / $${prices.completion}`),
    watch.contextWindow && t.models.watch.context(count(watch.contextWindow)),
  ].filter((line) => typeof line === 'string' && line !== '');
  if (found.length === 0) return watch.listing === 'listed' ? <span className="sub">{t.models.watch.fine} <When at={watch.checkedAt} ago /></span> : null;
  return <>{found.map((line) => <span key={`${line}`} className="sub w"><Icon name="watch" />{line}</span>)}</>;
}

/** Where a model answers first. */
function serves(model: ModelInfo, catalog: ModelList): JSX.Element {
  const first = catalog.tasks.flatMap((task) => [
    ...(task.control[0] === model.name ? [`${task.name} (${t.models.arms.control})`] : []),
    ...(task.candidate[0] === model.name ? [`${task.name} (${t.models.arms.candidate})`] : []),
  ]);
  return first.length === 0 ? <span className="muted">{t.models.none}</span> : <>{first.slice(0, 3).join(', ')}{first.length > 3 && ` +${first.length - 3}`}</>;
}

function Bar({ span, per }: { span: SpanInfo; per: string }): JSX.Element {
  const text = `${t.models.left(count(span.left), count(span.limit))} ${per}`;
  return (
    <div className="quota">
      <svg viewBox="0 0 100 8" preserveAspectRatio="none" aria-hidden="true" className={span.left < span.limit * 0.2 ? 'low' : ''}>
        <rect className="s-bg" width="100" height="8" /><rect className="fill" width={span.limit > 0 ? (100 * span.left) / span.limit : 0} height="8" />
      </svg>
      <span className="small">{text}</span>
    </div>
  );
}

function Quota(): JSX.Element {
  const { pulse } = useLive();
  const accounts = [...new Map(pulse?.models.flatMap(({ quotas }) => quotas.map((quota) => [`${quota.provider} ${quota.account ?? ''}`, quota] as const))).values()];
  return (
    <Panel title={t.models.quota}>
      {accounts.length === 0 ? <Empty text={t.models.noQuota} /> : (
        <ul className="feed plainfeed">
          {accounts.map((account) => (
            <li key={`${account.provider} ${account.account ?? ''}`}>
              <div>
                <p><b className="strong">{account.provider}</b> {account.account} {account.onlyFree && <span className="muted">{t.models.onlyFree}</span>}</p>
                {account.minute && <Bar span={account.minute} per={t.models.perMinute} />}
                {account.day && <Bar span={account.day} per={t.models.perDay} />}
                {account.waiting > 0 && <p className="small">{t.models.waiting(count(account.waiting))}: {duration(account.waitedMs)}</p>}
              </div>
            </li>
          ))}
        </ul>
      )}
    </Panel>
  );
}

function Tasks({ catalog }: { catalog: ModelList }): JSX.Element {
  const say = useModelName();
  const route = (models: string[]): string => models.map(say).join(t.models.comma);
  return (
    <Panel title={t.models.tasks}>
      <table className="rows">
        <thead><tr><th scope="col">{t.models.task}</th><th scope="col">{t.compare.control}</th><th scope="col">{t.compare.candidate}</th></tr></thead>
        <tbody>
          {catalog.tasks.map((task) => (
            <tr key={task.name}>
              <th scope="row">{task.name}</th>
              <td data-label={t.compare.control}>{route(task.control)}</td>
              <td data-label={t.compare.candidate} className="cand">{route(task.candidate)}</td>
            </tr>
          ))}
        </tbody>
      </table>
    </Panel>
  );
}
