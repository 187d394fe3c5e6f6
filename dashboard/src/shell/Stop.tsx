// The sheet that stops things, from any page. The focus stands on the first; Enter does it.
import { useMutation } from '@tanstack/react-query';
import { type JSX, useState } from 'react';
import { share } from '../format.ts';
import { refresh, useLive } from '../live.ts';
import { note } from '../notices.ts';
import { ReasonChips, useRollBack } from '../parts/ChangeDialogs.tsx';
import { Dialog } from '../parts/Dialog.tsx';
import { Fault } from '../parts/Panel.tsx';
import { Command } from '../parts/Text.tsx';
import { server } from '../server.ts';
import { useMayChange } from '../session.ts';
import { t } from '../texts/index.ts';

export function Stop({ onClose }: { onClose: () => void }): JSX.Element {
  const { rollouts, flags } = useLive();
  // Each keeps its place while this is open, also one that has ended meanwhile: no other button slips under a finger on its way.
  const [stood] = useState(rollouts);
  const shown = [
    ...stood.map((one) => rollouts.find(({ id }) => id === one.id) ?? { ...one, live: false }),
    ...rollouts.filter(({ id }) => !stood.some((one) => one.id === id)),
  ];
  const mayChange = useMayChange();
  const [reason, setReason] = useState<string>(t.dialog.reasons.hurt);
  const back = useRollBack(onClose);
  const kill = useMutation({
    mutationFn: () => server.featureFlags.kill.mutate({ on: true, reason }),
    retry: 10,
    retryDelay: 1000,
    onSuccess: () => {
      note({ tone: 'good', text: t.stop.done, link: { to: '/flags', text: t.dialog.see } }, 'assertive');
      void refresh();
      onClose();
    },
  });
  if (!mayChange) {
    return (
      <Dialog title={t.stop.title} onClose={onClose} className="sheet">
        <p>{t.stop.notAllowed}</p>
        <Command text={'modelramp rollout rollback ID -r "users are hurt"'} />
        <div className="row end"><button type="button" className="btn" data-first onClick={onClose}>{t.shell.close}</button></div>
      </Dialog>
    );
  }
  const pending = back.isPending || kill.isPending;
  return (
    <Dialog title={t.stop.title} onClose={onClose} className="sheet">
      <p className="muted">{t.stop.text}</p>
      <div className="choices">
        <div className="choices several">
          {shown.map((rollout, place) => (
            <button
              key={rollout.id}
              type="button"
              className="btn stop big"
              data-first={place === 0 ? '' : undefined}
              disabled={pending || !rollout.live}
              onClick={() => back.mutate({ rollout, reason })}
            >
              {back.isPending && back.variables.rollout.id === rollout.id ? t.actions.rollingBack : rollout.live ? t.stop.rollback(rollout.plan, share(rollout.share)) : t.stop.ended(rollout.plan)}
            </button>
          ))}
        </div>
        {shown.length === 0 && <p>{t.stop.nothing}</p>}
        <button type="button" className="btn stop-quiet big" data-first={shown.length === 0 ? '' : undefined} disabled={pending || flags?.killed} onClick={() => kill.mutate()}>
          {t.stop.kill}
        </button>
        <p className="small muted">{flags?.killed ? t.stop.killed : t.stop.killText}</p>
      </div>
      <ReasonChips onReason={setReason} />
      {back.retrying && back.isPending && (
        <div className="fault" role="alert">
          <p>{t.dialog.retrying}</p>
          <Command text={`modelramp rollout rollback ${back.variables.rollout.id} -r "${reason}"`} />
        </div>
      )}
      {(back.error ?? kill.error) && <Fault error={back.error ?? kill.error} />}
      <div className="row end"><button type="button" className="btn" onClick={onClose}>{t.shell.cancel}</button></div>
    </Dialog>
  );
}
