// The state of a rollout in one word, one headline, two sentences, and the buttons that stop it.
import type { RolloutDetails } from 'modelramp-schema';
import type { JSX, ReactNode } from 'react';
import { Link } from 'wouter';
import { useModelName } from '../catalog.ts';
import { count, duration, evidence, moment, planned, ratio, share, margin as tolerated } from '../format.ts';
import { atLeast, effectOf, failureRatio, loudest, nextShare, primaries, shareInForce, situation, toneOf } from '../judgement.ts';
import { useLive } from '../live.ts';
import { useMayChange } from '../session.ts';
import { t } from '../texts/index.ts';
import { useAsking } from './Asking.tsx';
import { reasonWords } from './Feed.tsx';
import { Icon } from './Icon.tsx';
import { Rich, actorName } from './Text.tsx';

function headline(rollout: RolloutDetails, killed: boolean): string {
  const kind = situation(rollout, killed);
  return kind === 'watch' ? t.level.watchHeadline[loudest(rollout)] : t.level.headline[kind];
}

export function titleOf(rollout: RolloutDetails, killed: boolean): string {
  return t.level.title(t.level.word[situation(rollout, killed)], rollout.plan, share(shareInForce(rollout, killed)));
}

/** What follows by itself, in a sentence. */
function next(rollout: RolloutDetails, killed: boolean): string {
  const kind = situation(rollout, killed);
  const { evidence: lines } = rollout.wanted;
  const { why, at } = rollout.nextStep ?? { why: null, at: null };
  if (kind !== 'killed' && why === 'held' && at) return t.level.next.clearing(moment(at));
  switch (kind) {
    case 'healthy': {
      if (rollout.stage >= rollout.stages) return t.level.next.last(duration(rollout.leftMs));
      const then = share(nextShare(rollout));
      if (why === 'outside-window') return at ? t.level.next.window(then, moment(at)) : t.level.next.windowSoon(then);
      if (why === 'guarded') return t.level.next.guarded(then);
      if (rollout.leftMs > 0 && at) return t.level.next.soaking(duration(rollout.leftMs), moment(at), then);
      if (why === 'too-little-evidence') return t.level.next.little(then);
      return rollout.leftMs > 0 ? t.level.next.healthy(duration(rollout.leftMs), then) : t.level.next.soaked(then);
    }
    case 'watch':
      // One that a person stopped, or is asked about, does not go on by itself when the evidence is clear again.
      if (rollout.state.name === 'paused') return t.level.next.paused(share(rollout.share));
      if (rollout.state.name === 'waiting-at-gate') return t.level.next.gate(share(nextShare(rollout)));
      return t.level.next.watch(share(rollout.share), evidence(lines.rollback));
    case 'killed':
      return t.level.next.killed(share(rollout.share));
    case 'hold':
      return t.level.next.hold(evidence(lines.rollback));
    case 'paused':
      return t.level.next.paused(share(rollout.share));
    case 'gate-open':
    case 'gate-proven':
    case 'gate-recommended':
      return t.level.next.gate(share(nextShare(rollout)));
    default:
      return t.level.next[kind];
  }
}

function Figures({ rollout }: { rollout: RolloutDetails }): JSX.Element {
  const name = useModelName();
  const { candidate, control } = rollout.finding;
  const models = primaries(rollout);
  const times = failureRatio(rollout);
  const effect = effectOf(rollout, 'errors');
  const least = atLeast(rollout);
  if (candidate.requests === 0) return <>{t.level.noRequests}</>;
  return (
    <>
      <Rich text={t.level.counted(count(candidate.errors), count(candidate.requests), name(models.candidate), count(control.errors), count(control.requests), name(models.control))} />{' '}
      {times !== null && <Rich text={t.level.times(ratio(times), tolerated(rollout.wanted.evidence.margin))} />}
      {least !== null && t.level.atLeast(ratio(least), tolerated(rollout.wanted.evidence.margin))}
      {effect && effect.high !== null && <> {t.level.interval(ratio(effect.low), ratio(effect.high))}</>}
    </>
  );
}

export function Hero({ rollout, more }: { rollout: RolloutDetails; more?: ReactNode }): JSX.Element {
  const killed = useLive().flags?.killed ?? false;
  const kind = situation(rollout, killed);
  const tone = toneOf(kind);
  const mayChange = useMayChange();
  const ask = useAsking();
  const stopping = ask.stopping(rollout);
  return (
    <section className={`hero ${tone}`} aria-labelledby="state">
      <div>
        <span className="word"><Icon name={tone} />{t.level.word[kind]}</span>
        <h1 id="state" tabIndex={-1}>{headline(rollout, killed)}</h1>
        <p><Figures rollout={rollout} /></p>
        {rollout.endedAt && <p>{t.level.ended(moment(rollout.endedAt), actorName(rollout.changedBy), reasonWords(rollout.reason))}</p>}
      </div>
      <div className="acts">
        {mayChange && rollout.live && (
          <>
            <button type="button" className="btn stop" disabled={stopping} onClick={() => ask({ action: 'rollback', rollout })}>
              {stopping ? t.actions.rollingBack : t.actions.rollback}
            </button>
            {rollout.state.name === 'paused'
              ? <button type="button" className="btn" onClick={() => ask({ action: 'resume', rollout })}>{t.actions.resume}</button>
              : rollout.state.name === 'waiting-at-gate'
                ? <button type="button" className="btn" onClick={() => ask({ action: 'approve', rollout })}>{t.actions.approve}</button>
                : <button type="button" className="btn" onClick={() => ask({ action: 'pause', rollout })}>{t.actions.pause}</button>}
          </>
        )}
        {more}
        {rollout.finding.candidate.errors > 0 && (
          <Link className="small" href={`/requests?rollout=${rollout.id}&variant=candidate&outcome=failed&counted=true`}>{t.actions.seeFailed}</Link>
        )}
      </div>
      <p className="next"><Rich text={t.level.nextIs} /> {next(rollout, killed)}</p>
    </section>
  );
}

export const SeeWhy = ({ id }: { id: string }): JSX.Element => (
  <Link className="btn" href={`/rollouts/${id}`}>{t.actions.seeWhy}</Link>
);

/** How long the stage soaks in all. */
export const soakOf = (rollout: RolloutDetails): number => planned(rollout.wanted.stages[rollout.stage - 1]?.soak ?? '') ?? 0;
