// What each change asks before it is sent.
import { useMutation } from '@tanstack/react-query';
import type { RolloutDetails, RolloutState } from 'modelramp-schema';
import { type FormEvent, type JSX, useState } from 'react';
import { type Change, Conflict, change, rollBack } from '../changes.ts';
import { evidence, rate, share } from '../format.ts';
import { failureRate, nextShare, situation } from '../judgement.ts';
import { useLive } from '../live.ts';
import { note } from '../notices.ts';
import { t } from '../texts/index.ts';
import { useAsking } from './Asking.tsx';
import { Dialog } from './Dialog.tsx';
import { Fault } from './Panel.tsx';
import { Command, actorName } from './Text.tsx';

interface Props {
  rollout: RolloutDetails;
  onClose: () => void;
}

const link = (id: string): { to: string; text: string } => ({ to: `/rollouts/${id}`, text: t.dialog.see });

export type ReasonKey = keyof typeof t.dialog.reasons;

/** The reason of whoever stops something: chosen, not written, though it may be. */
export function ReasonChips({ onReason }: { onReason: (reason: string) => void }): JSX.Element {
  const [chosen, setChosen] = useState<ReasonKey>('hurt');
  return (
    <fieldset className="chips">
      <legend>{t.dialog.reason}</legend>
      <div className="row">
        {(Object.keys(t.dialog.reasons) as ReasonKey[]).map((key) => (
          <label key={key} className="chip">
            <input
              type="radio"
              name="reason"
              checked={chosen === key}
              onChange={() => {
                setChosen(key);
                onReason(t.dialog.reasons[key]);
              }}
            />
            {t.dialog.reasons[key]}
          </label>
        ))}
      </div>
      {chosen === 'other' && (
        <input className="field" aria-label={t.dialog.reason} maxLength={1000} autoFocus onChange={(event) => onReason(event.target.value.trim() || t.dialog.reasons.other)} />
      )}
    </fieldset>
  );
}

/** Sends a rollback and says how it went. */
export function useRollBack(onDone: () => void) {
  const asking = useAsking();
  const [retrying, setRetrying] = useState(false);
  const mutation = useMutation({
    mutationFn: ({ rollout, reason }: { rollout: RolloutState; reason: string }) => {
      asking.sent(rollout.id);
      return rollBack({ id: rollout.id, version: rollout.version, reason }, () => setRetrying(true));
    },
    onSuccess: (state) => {
      note({ tone: 'good', text: t.dialog.done.rollback(state.plan), link: link(state.id) }, 'assertive');
      onDone();
    },
    onError: (_, { rollout }) => asking.failed(rollout.id),
  });
  return { ...mutation, retrying };
}

export function RollBackDialog({ rollout, onClose }: Props): JSX.Element {
  const [reason, setReason] = useState<string>(t.dialog.reasons.hurt);
  const { mutate, isPending, error, retrying } = useRollBack(onClose);
  return (
    <Dialog title={t.dialog.rollback(rollout.plan)} onClose={onClose}>
      <form
        onSubmit={(event) => {
          event.preventDefault();
          mutate({ rollout, reason });
        }}
      >
        <p>{t.dialog.rollbackText(share(rollout.share))}</p>
        <ReasonChips onReason={setReason} />
        {retrying && isPending && (
          <div className="fault" role="alert">
            <p>{t.dialog.retrying}</p>
            <Command text={`modelramp rollout rollback ${rollout.id} -r "${reason}"`} />
          </div>
        )}
        {error && <Fault error={error} />}
        <div className="row end">
          <button type="button" className="btn" onClick={onClose}>{t.shell.cancel}</button>
          <button type="submit" className="btn stop" data-first disabled={isPending}>{isPending ? t.actions.rollingBack : t.actions.rollback}</button>
        </div>
      </form>
    </Dialog>
  );
}

function useChange(rollout: RolloutDetails, done: (state: RolloutState) => string, onClose: () => void) {
  return useMutation({
    mutationFn: (asked: Change) => change(asked),
    onSuccess: (state) => {
      note({ tone: 'good', text: done(state), link: link(rollout.id) });
      onClose();
    },
  });
}

export function StopClockDialog({ action, rollout, onClose }: Props & { action: 'pause' | 'resume' }): JSX.Element {
  const [reason, setReason] = useState(action === 'pause' ? t.dialog.pausePreset : '');
  const { mutate, isPending, error } = useChange(rollout, (state) => t.dialog.done[action](state.plan), onClose);
  const submit = (event: FormEvent): void => {
    event.preventDefault();
    mutate({ action, id: rollout.id, version: rollout.version, reason: reason.trim() });
  };
  return (
    <Dialog title={t.dialog[action](rollout.plan)} onClose={onClose}>
      <form onSubmit={submit}>
        <p>{action === 'pause' ? t.dialog.pauseText : t.dialog.resumeText}</p>
        <Reason value={reason} onChange={setReason} />
        <Failure error={error} />
        <div className="row end">
          <button type="button" className="btn" data-first={action === 'resume' ? '' : undefined} onClick={onClose}>{t.shell.cancel}</button>
          <button type="submit" className="btn primary" data-first={action === 'pause' ? '' : undefined} disabled={isPending || !reason.trim()}>{t.actions[action]}</button>
        </div>
      </form>
    </Dialog>
  );
}

function Reason({ value, onChange, first = false }: { value: string; onChange: (value: string) => void; first?: boolean }): JSX.Element {
  return (
    <label className="labelled">
      {t.dialog.reason}
      <input className="field" value={value} maxLength={1000} required data-first={first ? '' : undefined} onChange={(event) => onChange(event.target.value)} />
    </label>
  );
}

/** A conflict says what is different now; the dialog above it shows it already. */
function Failure({ error }: { error: Error | null }): JSX.Element | null {
  if (!error) return null;
  if (!(error instanceof Conflict)) return <Fault error={error} />;
  const { current } = error;
  return (
    <div className="fault" role="alert">
      <p className="strong">{t.dialog.conflict}</p>
      <p>{t.dialog.conflictText(actorName(current.changedBy), share(current.share), t.level.word[stateWord(current)], current.version)}</p>
      <p>{t.dialog.conflictAgain}</p>
    </div>
  );
}

const stateWord = (state: RolloutState): keyof typeof t.level.word =>
  state.state.name === 'paused' ? 'paused' : state.state.name === 'rolled-back' ? 'rolled-back' : state.state.name === 'completed' ? 'completed' : state.level === 'clear' ? 'healthy' : state.level === 'watch' ? 'watch' : 'hold';

export function RaiseDialog({ action, rollout, onClose }: Props & { action: 'advance' | 'approve' | 'set-share' }): JSX.Element {
  const [reason, setReason] = useState('');
  const [percent, setPercent] = useState('');
  const [typed, setTyped] = useState('');
  const { connection } = useLive();
  const target = action === 'set-share' ? Number(percent.replace(',', '.')) : nextShare(rollout);
  const valid = action !== 'set-share' || (percent.trim() !== '' && target >= 0 && target <= 100);
  const lowers = action === 'set-share' && valid && target < rollout.share;
  const shown = valid ? share(target) : '';
  const confirmed = lowers || Number(typed.replace(',', '.').replace('%', '')) === target && typed.trim() !== '';
  const { mutate, isPending, error } = useChange(rollout, (state) => t.dialog.done[action](state.plan, share(state.share)), onClose);
  const submit = (event: FormEvent): void => {
    event.preventDefault();
    const asked = { id: rollout.id, version: rollout.version, reason: reason.trim() || t.dialog.down };
    setTyped('');
    mutate(action === 'set-share' ? { action, percent: target, ...asked } : { action, ...asked });
  };
  const { candidate, control } = rollout.finding;
  const title = action === 'set-share' ? t.dialog.setShare(rollout.plan) : t.dialog[action](rollout.plan, share(target));
  const text = { advance: t.dialog.advanceText, approve: t.dialog.approveText, 'set-share': t.dialog.setShareText }[action];
  return (
    <Dialog title={title} onClose={onClose}>
      <form onSubmit={submit}>
        <p>{text}</p>
        {action === 'set-share' && (
          <label className="labelled">
            {t.dialog.newShare}
            <input className="field num" inputMode="decimal" value={percent} required data-first onChange={(event) => setPercent(event.target.value)} />
          </label>
        )}
        {valid && <p className="strong">{t.dialog.from(share(rollout.share), shown)}</p>}
        <p className="muted small">{t.dialog.evidenceLine(evidence(rollout.finding.e), t.overview.proofWord[rollout.finding.proof], rate(failureRate(candidate)), rate(failureRate(control)))}</p>
        <Reason value={reason} onChange={setReason} first={action !== 'set-share'} />
        {valid && !lowers && (
          <label className="labelled">
            {t.dialog.typed(shown)}
            <input className="field num" inputMode="decimal" value={typed} required autoComplete="off" onChange={(event) => setTyped(event.target.value)} />
          </label>
        )}
        <Failure error={error} />
        {connection === 'lost' && !lowers && <p className="muted">{t.actions.no['no-connection']}</p>}
        <div className="row end">
          <button type="button" className="btn" onClick={onClose}>{t.shell.cancel}</button>
          <button type="submit" className="btn primary" disabled={isPending || !valid || !confirmed || !reason.trim() || (connection === 'lost' && !lowers)}>
            {action === 'set-share' ? (lowers ? t.dialog.lower : t.dialog.raise) : t.actions[action].replace('…', '')}
          </button>
        </div>
      </form>
    </Dialog>
  );
}

/** For lists that name the state. */
export const wordOf = (rollout: RolloutDetails): string => t.level.word[situation(rollout)];
