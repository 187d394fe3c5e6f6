// The ramp: a column a stage, as high as its share, filled as far as it has soaked.
import type { HistoryEntry, RolloutDetails } from 'modelramp-schema';
import type { JSX } from 'react';
import { count, duration, planned, share } from '../format.ts';
import { situation, toneOf } from '../judgement.ts';
import { t } from '../texts/index.ts';
import { Tag } from './Icon.tsx';
import { Panel } from './Panel.tsx';
import { When, actorName } from './Text.tsx';

type Standing = 'past' | 'now' | 'back' | 'left' | 'never';

/** How a stage was left: the change that began the one after it. */
function leaving(history: HistoryEntry[], stage: number): HistoryEntry | undefined {
  return history.find(({ before, after, action }) => before?.stage === stage && (after.stage > stage || action === 'completed'));
}

const beginning = (history: HistoryEntry[], stage: number): HistoryEntry | undefined => history.find(({ after }) => after.stage === stage);

export function Ramp({ rollout, history = [] }: { rollout: RolloutDetails; history?: HistoryEntry[] }): JSX.Element {
  const { wanted } = rollout;
  const start = history.find(({ action }) => action === 'started');
  return (
    <Panel
      title={t.ramp.title}
      note={
        <>
          {t.ramp.plan(wanted.name)} · {rollout.tasks.length > 0 ? t.shell.tasks(rollout.tasks.join(', ')) : t.shell.everything}
          {start && <> · {t.ramp.startedBy(actorName(start.actor))} <When at={start.at} />: “{start.reason}”</>}
        </>
      }
    >
      <ol className={wanted.stages.length > 4 ? 'ramp many' : 'ramp'}>
        {wanted.stages.map((stage, place) => (
          <StageColumn key={place} rollout={rollout} number={place + 1} height={Math.min(stage.share, 100 - wanted.holdout)} history={history} />
        ))}
      </ol>
    </Panel>
  );
}

function standing(rollout: RolloutDetails, number: number): Standing {
  if (number < rollout.stage || rollout.state.name === 'completed') return 'past';
  if (number > rollout.stage) return rollout.live ? 'left' : 'never';
  return rollout.live ? 'now' : 'back';
}

function StageColumn({ rollout, number, height, history }: { rollout: RolloutDetails; number: number; height: number; history: HistoryEntry[] }): JSX.Element {
  const stage = rollout.wanted.stages[number - 1]!;
  const where = standing(rollout, number);
  const soak = planned(stage.soak) ?? 0;
  const soaked = where === 'past' ? 1 : where === 'left' || where === 'never' || soak === 0 ? 0 : Math.min(1, rollout.soakedMs / soak);
  const top = 100 - height * 0.98;
  const frozen = where === 'now' && rollout.state.name !== 'running';
  const began = beginning(history, number);
  return (
    <li aria-current={where === 'now' ? 'step' : undefined}>
      <svg className="step" viewBox="0 0 100 100" preserveAspectRatio="none" aria-hidden="true">
        <rect className="s-bg" x="0" y={top} width="100" height={100 - top} />
        {(where === 'past' || where === 'now') && (
          <rect className={where === 'past' ? 's-done' : 's-now'} x="0" y={top} width={100 * soaked} height={100 - top} />
        )}
        {where === 'now' && rollout.share < height && (
          <path className="s-share" d={`M0 ${100 - rollout.share * 0.98}H100`} />
        )}
        {frozen && <path className="s-frozen" d={`M${Math.max(1, 100 * soaked)} ${Math.max(0, top - 12)}V100`} />}
        {(where === 'left' || where === 'never') && <path className="s-left" d={`M0.5 100V${top}H99.5V100`} />}
        {where === 'now' && soaked < 1 && <path className="s-left" d={`M${100 * soaked} ${top}H99.5V100`} />}
        {where === 'back' && <path className="s-back" d={`M0.5 100V${top}H99.5V100`} />}
      </svg>
      <div className="t">
        <span className="sr">{t.ramp.stageName(number, rollout.stages, '')}</span>
        <b>{share(height)}</b> <StageTag rollout={rollout} number={number} where={where} history={history} />
        {began && (
          <p className="small muted opt">
            {where === 'past' ? <When at={began.at} /> : where === 'now' || where === 'back' ? <>{t.ramp.since} <When at={began.at} /></> : null}
            {where === 'back' && rollout.endedAt && <>; {t.ramp.zero} <When at={rollout.endedAt} /></>}
          </p>
        )}
        <p className="small muted">
          {where === 'left' || where === 'never'
            ? t.ramp.soakOf(duration(soak))
            : t.ramp.soak(duration(where === 'past' ? soak : Math.min(soak, rollout.soakedMs)), duration(soak))}
          {where === 'now' && rollout.share !== height && ` · ${share(rollout.share)}`}
          {(where === 'now' || where === 'back') && ` · ${t.ramp.requests(count(rollout.finding.candidate.requests))}`}
          {where === 'left' && stage.gate === 'manual' && ` · ${t.ramp.manual}`}
          {number === rollout.stages && rollout.wanted.holdout > 0 && where !== 'past' && ` · ${t.ramp.holdout(share(rollout.wanted.holdout))}`}
        </p>
      </div>
    </li>
  );
}

function StageTag({ rollout, number, where, history }: { rollout: RolloutDetails; number: number; where: Standing; history: HistoryEntry[] }): JSX.Element {
  if (where === 'left') return <span className="tag quiet">{t.ramp.toCome}</span>;
  if (where === 'never') return <span className="tag quiet">{t.ramp.never}</span>;
  if (where === 'back') return <Tag tone="bad">{t.ramp.back}</Tag>;
  if (where === 'past') {
    const left = leaving(history, number);
    if (!left) return <span className="tag quiet">{t.ramp.passed}</span>;
    if (left.action === 'approved') return <Tag tone="good">{t.ramp.approved}</Tag>;
    if (left.action === 'advanced' && left.actor !== 'controller') return <Tag tone="quiet">{t.ramp.advanced}</Tag>;
    return <Tag tone="good">{left.action === 'advanced' ? t.ramp.proven : t.ramp.done}</Tag>;
  }
  const tone = toneOf(situation(rollout));
  switch (rollout.state.name) {
    case 'paused':
      return <Tag tone="hold">{t.ramp.paused}</Tag>;
    case 'waiting-at-gate':
      return <Tag tone={tone}>{t.ramp.gate}</Tag>;
    case 'holding':
      return <Tag tone={tone}>{t.ramp.frozen}</Tag>;
    default:
      return <Tag tone={tone}>{t.ramp.now}</Tag>;
  }
}
