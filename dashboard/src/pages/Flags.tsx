// The kill switch and the live share, and who decides about each task.
import { useMutation } from '@tanstack/react-query';
import type { FlagsState } from 'modelramp-schema';
import { type FormEvent, type JSX, useState } from 'react';
import { Link } from 'wouter';
import { share } from '../format.ts';
import { refresh, useLive } from '../live.ts';
import { note } from '../notices.ts';
import { ReasonChips } from '../parts/ChangeDialogs.tsx';
import { Dialog } from '../parts/Dialog.tsx';
import { Icon, Tag } from '../parts/Icon.tsx';
import { Fault, Head, Panel, Waiting } from '../parts/Panel.tsx';
import { When, actorName } from '../parts/Text.tsx';
import { useTitle } from '../parts/hooks.ts';
import { server } from '../server.ts';
import { useMayChange } from '../session.ts';
import { t } from '../texts/index.ts';

type Asked = 'kill-on' | 'kill-off' | 'share';

export function Flags(): JSX.Element {
  const { flags } = useLive();
  const [asked, setAsked] = useState<Asked | null>(null);
  const mayChange = useMayChange();
  useTitle(`${flags?.killed ? t.overview.killOn : t.flags.title} · modelramp`);
  const close = (): void => setAsked(null);
  return (
    <>
      <Head title={t.flags.title} asks={['featureFlags.get']} />
      {!flags ? <Waiting /> : (
        <>
          <section className={`hero ${flags.killed ? 'bad' : 'quiet'}`} aria-labelledby="kill">
            <div>
              <span className="word"><Icon name={flags.killed ? 'bad' : 'good'} />{t.flags.kill}</span>
              <h2 id="kill" className="h1">{t.flags.killIs(flags.killed)}</h2>
              {flags.at && <p className="muted">{flags.reason && <>“{flags.reason}” · </>}{actorName(flags.actor ?? '')} · <When at={flags.at} /> · {t.flags.version(flags.version)}</p>}
              {!flags.at && <p className="muted">{t.flags.never}</p>}
              {!flags.stored && <p className="strong">{t.flags.notStored}</p>}
              {flags.forcedForAll && <p className="strong">{t.flags.forced}</p>}
            </div>
            {mayChange && (
              <div className="acts">
                {flags.killed
                  ? <button type="button" className="btn" onClick={() => setAsked('kill-off')}>{t.flags.killOff}</button>
                  : <button type="button" className="btn stop" onClick={() => setAsked('kill-on')}>{t.flags.killOn}</button>}
              </div>
            )}
          </section>
          <Panel title={t.flags.share} note={t.flags.shareText} side={mayChange && <button type="button" className="btn small" onClick={() => setAsked('share')}>{t.flags.set}</button>}>
            <div className="pad">
              <p className="figure">{share(flags.share)} <span className="muted small">{t.overview.ofUsers}</span></p>
              <p className="small muted">{t.flags.algorithm} <span className="mono">{flags.algorithm}</span></p>
            </div>
          </Panel>
          <Panel title={t.flags.tasks}>
            <table className="rows">
              <thead><tr><th scope="col">{t.flags.task}</th><th scope="col" className="r">{t.flags.inForce}</th><th scope="col">{t.flags.decides}</th></tr></thead>
              <tbody>
                {flags.tasks.map((task) => (
                  <tr key={task.task}>
                    <th scope="row"><Link href={`/explain?task=${encodeURIComponent(task.task)}`} data-row>{task.task}</Link></th>
                    <td data-label={t.flags.inForce} className="r">{share(task.share)}</td>
                    <td data-label={t.flags.decides}>
                      {task.decidedBy === 'kill-switch' ? <Tag tone="bad">{t.explain.by['kill-switch']}</Tag> : task.rollout ? <><Link href={`/rollouts/${task.rollout.id}`}>{t.explain.by.rollout}: {task.rollout.plan}</Link>{task.rollout.ended && ` (${t.overview.endedHow[task.rollout.ended]})`}</> : t.explain.by['live-share']}
                    </td>
                  </tr>
                ))}
              </tbody>
            </table>
          </Panel>
          <p className="small muted">{t.flags.history}</p>
        </>
      )}
      {flags && asked && <FlagsDialog asked={asked} flags={flags} onClose={close} />}
    </>
  );
}

function FlagsDialog({ asked, flags, onClose }: { asked: Asked; flags: FlagsState; onClose: () => void }): JSX.Element {
  const [reason, setReason] = useState<string>(asked === 'kill-on' ? t.dialog.reasons.hurt : '');
  const [percent, setPercent] = useState('');
  const [typed, setTyped] = useState('');
  const target = Number(percent.replace(',', '.'));
  const valid = asked !== 'share' || (percent.trim() !== '' && target >= 0 && target <= 100);
  const raises = asked === 'share' && target > flags.share;
  const confirmed = asked === 'kill-off' ? typed.trim().toLowerCase() === t.flags.off : !raises || (typed.trim() !== '' && Number(typed.replace(',', '.').replace('%', '')) === target);
  const { mutate, isPending, error } = useMutation({
    mutationFn: () =>
      asked === 'share'
        ? server.featureFlags.setShare.mutate({ percent: target, reason, version: flags.version })
        : // Switching on is right in every state; switching off only in the one that was seen.
          server.featureFlags.kill.mutate({ on: asked === 'kill-on', reason, ...(asked === 'kill-off' && { version: flags.version }) }),
    onSuccess: (state) => {
      note({ tone: 'good', text: asked === 'share' ? t.flags.doneShare(share(state.share)) : asked === 'kill-on' ? t.stop.done : t.flags.doneKillOff }, asked === 'kill-on' ? 'assertive' : 'polite');
      onClose();
    },
    onSettled: () => void refresh(),
  });
  const title = { 'kill-on': t.stop.kill, 'kill-off': t.flags.killOff, share: t.flags.set }[asked].replace('…', '');
  const submit = (event: FormEvent): void => {
    event.preventDefault();
    mutate();
  };
  return (
    <Dialog title={title} onClose={onClose}>
      <form onSubmit={submit}>
        <p>{{ 'kill-on': t.flags.killOnText, 'kill-off': t.flags.killOffText, share: t.flags.shareText }[asked]}</p>
        {asked === 'share' && <label className="labelled">{t.dialog.newShare}<input className="field num" inputMode="decimal" data-first required value={percent} onChange={(event) => setPercent(event.target.value)} /></label>}
        {asked === 'share' && valid && <p className="strong">{t.dialog.from(share(flags.share), share(target))}</p>}
        {asked === 'kill-on' ? <ReasonChips onReason={setReason} /> : (
          <label className="labelled">{t.dialog.reason}<input className="field" data-first={asked === 'kill-off' ? '' : undefined} required maxLength={1000} value={reason} onChange={(event) => setReason(event.target.value)} /></label>
        )}
        {asked === 'kill-off' && <label className="labelled">{t.flags.typeOff}<input className="field" required autoComplete="off" value={typed} onChange={(event) => setTyped(event.target.value)} /></label>}
        {raises && valid && <label className="labelled">{t.dialog.typed(share(target))}<input className="field num" inputMode="decimal" required autoComplete="off" value={typed} onChange={(event) => setTyped(event.target.value)} /></label>}
        {error && <Fault error={error} />}
        <div className="row end">
          <button type="button" className="btn" onClick={onClose}>{t.shell.cancel}</button>
          <button type="submit" className={`btn ${asked === 'kill-on' ? 'stop' : 'primary'}`} data-first={asked === 'kill-on' ? '' : undefined} disabled={isPending || !valid || !confirmed || !reason.trim()}>{title}</button>
        </div>
      </form>
    </Dialog>
  );
}
