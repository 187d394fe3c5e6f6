// Are users hurt, how far is it, and what happens next?
import { useQuery } from '@tanstack/react-query';
import type { RolloutDetails } from 'modelramp-schema';
import type { JSX } from 'react';
import { Link } from 'wouter';
import { useCatalog, useModelName } from '../catalog.ts';
import { count, duration, evidence, moment, share } from '../format.ts';
import { excess, isRehearsal, shareInForce, situation, toneOf } from '../judgement.ts';
import { type Live, useLive } from '../live.ts';
import { Compare } from '../parts/Compare.tsx';
import { wordOf } from '../parts/ChangeDialogs.tsx';
import { EvidencePanel } from '../parts/Evidence.tsx';
import { FeedItem } from '../parts/Feed.tsx';
import { Hero, SeeWhy, titleOf } from '../parts/Hero.tsx';
import { Icon, Tag } from '../parts/Icon.tsx';
import { Empty, Fault, Panel, Waiting } from '../parts/Panel.tsx';
import { Ramp } from '../parts/Ramp.tsx';
import { CopyButton, When } from '../parts/Text.tsx';
import { useTitle } from '../parts/hooks.ts';
import { useHistory } from '../queries.ts';
import { curl, server, serverNow } from '../server.ts';
import { useMayChange } from '../session.ts';
import { t } from '../texts/index.ts';

export function Overview(): JSX.Element {
  const live = useLive();
  const [first, ...others] = live.rollouts;
  const killed = live.flags?.killed ?? false;
  useTitle(first ? titleOf(first, killed) : `${t.pages.overview} · modelramp`);
  if (!live.at) {
    return (
      <>
        <h1 className="sr" tabIndex={-1}>{t.pages.overview}</h1>
        <Waiting rows={8} />
      </>
    );
  }
  return first ? <OneLive rollout={first} others={others} live={live} /> : <NoneLive live={live} />;
}

function OneLive({ rollout, others, live }: { rollout: RolloutDetails; others: RolloutDetails[]; live: Live }): JSX.Element {
  const history = useHistory(rollout.id, rollout.version).data ?? [];
  return (
    <>
      <Hero rollout={rollout} more={<SeeWhy id={rollout.id} />} />
      <Tiles rollout={rollout} killed={live.flags?.killed ?? false} />
      <Ramp rollout={rollout} history={history} />
      {others.length > 0 && <Others rollouts={others} />}
      <div className="cols">
        <div className="stack">
          <Compare rollout={rollout} variants={live.pulse?.window} />
          <EvidencePanel rollout={rollout} />
        </div>
        <div className="stack">
          <Panel title={t.overview.lately} side={<Link className="small" href="/audit">{t.pages.audit}</Link>}>
            <ol className="feed">{history.toReversed().slice(0, 5).map((entry) => <FeedItem key={entry.version} entry={entry} />)}</ol>
          </Panel>
          <Also live={live} />
        </div>
      </div>
      <p><CopyButton text={curl('rollout.get', { id: rollout.id })} label={t.shell.copyCurl} /></p>
    </>
  );
}

function Tiles({ rollout, killed }: { rollout: RolloutDetails; killed: boolean }): JSX.Element {
  const { evidence: lines } = rollout.wanted;
  const extra = excess(rollout);
  const last = rollout.stage >= rollout.stages;
  return (
    <dl className="panel tiles">
      <div>
        <dt>{t.overview.onCandidate}</dt>
        <dd>{share(shareInForce(rollout, killed))} <small>{t.overview.ofUsers}</small><span className="small">{t.overview.stage(rollout.stage, rollout.stages, moment(rollout.stageBeganAt))}</span></dd>
      </div>
      <div>
        <dt>{t.overview.extra}</dt>
        <dd>{count(extra)} <small>{t.overview.inTime(duration(serverNow().getTime() - rollout.stageBeganAt.getTime()))}</small><span className="small">{extra === null ? t.shell.unknown : t.overview.beyond}</span></dd>
      </div>
      <div>
        <dt>{t.overview.against}</dt>
        <dd>{evidence(rollout.finding.e)} <small>{t.overview.at(evidence(lines.rollback))}</small><span className="small">{t.overview.thresholds(evidence(lines.watch), evidence(lines.hold))}</span></dd>
      </div>
      <div>
        <dt>{t.overview.proof}</dt>
        <dd>
          {evidence(rollout.verdict.promotion.e)} <small>{t.overview.needed}</small>
          <span className="small">
            {last ? t.overview.lastStage : `${t.overview.proofWord[rollout.finding.proof]}; ${rollout.leftMs > 0 ? t.overview.soakLeft(duration(rollout.leftMs)) : t.overview.soaked}`}
          </span>
        </dd>
      </div>
    </dl>
  );
}

function Others({ rollouts }: { rollouts: RolloutDetails[] }): JSX.Element {
  return (
    <Panel title={t.overview.others}>
      <ul className="feed">
        {rollouts.map((rollout) => (
          <li key={rollout.id}>
            <Icon name={toneOf(situation(rollout))} />
            <p><Link href={`/rollouts/${rollout.id}`}>{rollout.plan}</Link> <Tag tone={toneOf(situation(rollout))}>{wordOf(rollout)}</Tag> {share(rollout.share)}, {t.overview.against.toLowerCase()} {evidence(rollout.finding.e)}</p>
          </li>
        ))}
      </ul>
    </Panel>
  );
}

/** What else a person woken at night would look for. */
function Also({ live: { flags, pulse } }: { live: Live }): JSX.Element {
  const name = useModelName();
  const accounts = new Map(pulse?.models.flatMap(({ quotas }) => quotas.map((quota) => [`${quota.provider} ${quota.account ?? ''}`, quota] as const)));
  const watched = pulse?.models.filter(({ breaker }) => breaker !== null) ?? [];
  const ill = watched.filter(({ breaker }) => breaker !== 'closed');
  const covered = flags?.tasks.filter(({ decidedBy }) => decidedBy === 'rollout').map(({ task }) => task) ?? [];
  return (
    <Panel title={t.overview.also}>
      <ul className="feed">
        {flags && (
          <li>
            <Icon name={flags.killed ? 'bad' : 'good'} className={flags.killed ? 'b' : 'g'} />
            <div>
              <p><Link href="/flags">{flags.killed ? t.overview.killOn : t.overview.killOff}</Link></p>
              <p className="who">{t.overview.liveShare(share(flags.share))}{covered.length > 0 && `; ${t.overview.decides(covered.join(', '))}`}</p>
              {!flags.stored && <p className="who">{t.overview.notStored}</p>}
            </div>
          </li>
        )}
        {[...accounts.values()].map((account) => {
          const span = account.day ?? account.minute;
          if (!span) return null;
          const low = span.left < span.limit * 0.2;
          return (
            <li key={`${account.provider} ${account.account ?? ''}`}>
              <Icon name={low ? 'watch' : 'good'} className={low ? 'w' : 'g'} />
              <p>{t.overview.quota([account.provider, account.account].filter(Boolean).join(' '), count(span.left), count(span.limit), account.day ? t.overview.day : t.overview.minute)}</p>
            </li>
          );
        })}
        {watched.length > 0 && (
          <li>
            <Icon name={ill.length > 0 ? 'watch' : 'good'} className={ill.length > 0 ? 'w' : 'g'} />
            <div>
              <p><Link href="/models">{t.overview.modelsAnswer(watched.length - ill.length, watched.length)}</Link></p>
              <p className="who">{ill.length > 0 ? t.overview.breakerOpen(ill.map(({ model }) => name(model)).join(', ')) : t.overview.noBreaker}</p>
            </div>
          </li>
        )}
      </ul>
    </Panel>
  );
}

function NoneLive({ live }: { live: Live }): JSX.Element {
  const name = useModelName();
  const catalog = useCatalog();
  const mayChange = useMayChange();
  const { data, error, refetch } = useQuery({ queryKey: ['rollout.list', 'all'], queryFn: () => server.rollout.list.query({ all: true }), refetchInterval: 10_000 });
  const all = data?.filter((rollout) => !isRehearsal(rollout));
  const last = all?.[0];
  const tasks = live.flags?.tasks ?? [];
  const onCandidate = tasks.filter((task) => task.share > 0);
  return (
    <>
      <section className={`hero ${live.flags?.killed ? 'bad' : 'quiet'}`} aria-labelledby="state">
        <div>
          <span className="word"><Icon name={live.flags?.killed ? 'bad' : 'quiet'} />{live.flags?.killed ? t.flags.kill : t.list.noneLive}</span>
          <h1 id="state" tabIndex={-1}>{live.flags?.killed ? t.overview.killOn : onCandidate.length === 0 ? t.overview.none : t.overview.noneText}</h1>
          {tasks.slice(0, 6).map(({ task, share: now }) => {
            const info = catalog?.tasks.find((one) => one.name === task);
            return <p key={task}>{t.overview.serves(task, name((now >= 100 ? info?.candidate[0] : info?.control[0]) ?? null), share(now))}</p>;
          })}
          {last?.endedAt && <p>{t.overview.last(last.plan, t.overview.endedHow[last.state.name === 'completed' ? 'completed' : 'rolled-back'], moment(last.endedAt))}</p>}
        </div>
        <div className="acts">
          {mayChange && <Link className="btn primary" href="/rollouts/new">{t.actions.start}</Link>}
          {last && <SeeWhy id={last.id} />}
        </div>
      </section>
      <div className="cols">
        <Panel title={t.list.title} side={<Link className="small" href="/rollouts">{t.overview.allOf}</Link>}>
          {error ? <Fault error={error} again={() => void refetch()} /> : !all && <Waiting />}
          {all?.length === 0 && <Empty text={t.list.empty}><p className="muted">{t.list.emptyNext}</p></Empty>}
          <ul className="feed">
            {all?.slice(0, 6).map((rollout) => (
              <li key={rollout.id}>
                <Icon name={rollout.state.name === 'completed' ? 'good' : 'bad'} className={rollout.state.name === 'completed' ? 'g' : 'b'} />
                <div>
                  <p><Link href={`/rollouts/${rollout.id}`}>{rollout.plan}</Link>: {rollout.reason}</p>
                  <p className="who">{rollout.endedAt && <When at={rollout.endedAt} />}</p>
                </div>
              </li>
            ))}
          </ul>
        </Panel>
        <Also live={live} />
      </div>
    </>
  );
}
