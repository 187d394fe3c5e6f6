// Who answers the procedures that an old server has as well, what was seen of them, and their moves.
import { useMutation, useQuery, useQueryClient } from '@tanstack/react-query';
import type { CallFigures, Mode, MovingProcedure } from 'modelramp-schema';
import { type FormEvent, type JSX, useState } from 'react';
import { count, evidence, share } from '../format.ts';
import { note } from '../notices.ts';
import { Dialog } from '../parts/Dialog.tsx';
import { Tag } from '../parts/Icon.tsx';
import { Empty, Fault, Head, Panel, Waiting } from '../parts/Panel.tsx';
import { When, actorName } from '../parts/Text.tsx';
import { useTitle } from '../parts/hooks.ts';
import { server } from '../server.ts';
import { useMayChange } from '../session.ts';
import { t } from '../texts/index.ts';

const MODES: Mode[] = ['legacy', 'shadow', 'share', 'native'];

export function Migration(): JSX.Element {
  const [moving, setMoving] = useState<string | null>(null);
  const [opened, setOpened] = useState<string | null>(null);
  const mayChange = useMayChange();
  useTitle(`${t.migration.title} · modelramp`);
  const { data, error, refetch } = useQuery({ queryKey: ['migration.list'], queryFn: () => server.migration.list.query(), refetchInterval: 5_000 });
  return (
    <>
      <Head title={t.migration.title} asks={['migration.list']}>
        {mayChange && data?.hasOldServer && <button type="button" className="btn" onClick={() => setMoving('')}>{t.migration.move}</button>}
      </Head>
      <Panel title={t.migration.procedures}>
        {error ? <Fault error={error} again={() => void refetch()} /> : !data ? <Waiting /> : !data.hasOldServer ? <Empty text={t.migration.none} /> : (
          <table className="rows">
            <thead><tr><th scope="col">{t.migration.procedure}</th><th scope="col">{t.migration.answers}</th><th scope="col">{t.migration.decided}</th><th scope="col" className="r">{t.migration.compared}</th><th scope="col" className="r">{t.migration.ours}</th><th scope="col" className="r">{t.migration.theirs}</th><th scope="col"><span className="sr">{t.migration.move}</span></th></tr></thead>
            <tbody>
              {data.procedures.map((one) => (
                <tr key={one.procedure}>
                  <th scope="row"><button type="button" className="link" data-row onClick={() => setOpened(one.procedure)}>{one.procedure}</button><span className="sub">{one.kind}</span></th>
                  <td data-label={t.migration.answers}><Answers of={one} /></td>
                  <td data-label={t.migration.decided}>{one.decided ? <>{actorName(one.decided.by)} <span className="small muted"><When at={one.decided.at} /></span></> : t.migration.bySettings}</td>
                  <td data-label={t.migration.compared} className="r">{one.kind === 'query' ? t.migration.differ(count(one.differed), count(one.compared)) : <span className="muted">{t.migration.never}</span>}</td>
                  <td data-label={t.migration.ours} className="r"><Calls of={one.ours} /></td>
                  <td data-label={t.migration.theirs} className="r"><Calls of={one.theirs} /></td>
                  <td>{mayChange && <button type="button" className="btn small" onClick={() => setMoving(one.procedure)} aria-label={`${t.migration.move} ${one.procedure}`}>{t.migration.move}</button>}</td>
                </tr>
              ))}
            </tbody>
          </table>
        )}
      </Panel>
      {data?.hasOldServer && (
        <Panel title={t.migration.stays}>
          <ul className="pad small">{t.migration.staying.map((one) => <li key={one}>{one}</li>)}</ul>
        </Panel>
      )}
      {moving !== null && <Move name={moving} onClose={() => setMoving(null)} />}
      {opened !== null && <Report name={opened} onClose={() => setOpened(null)} />}
    </>
  );
}

function Answers({ of }: { of: MovingProcedure }): JSX.Element {
  const tone = of.mode === 'native' ? 'good' : of.decided?.by === 'controller' ? 'bad' : of.mode === 'legacy' ? 'quiet' : 'watch';
  return (
    <>
      <Tag tone={tone}>{t.migration.modes[of.mode]}</Tag>
      {of.mode === 'share' && <span className="sub">{share(of.percent)}</span>}
      {of.decided && !of.decided.stored && <span className="sub">{t.flags.notStored}</span>}
    </>
  );
}

function Calls({ of }: { of: CallFigures }): JSX.Element {
  return <>{count(of.calls)}<span className="sub">{t.migration.calls(count(of.refused), count(of.failed), of.meanMs === null ? '–' : of.meanMs.toFixed(1))}</span></>;
}

/** What was seen of a procedure, with examples of differences. */
function Report({ name, onClose }: { name: string; onClose: () => void }): JSX.Element {
  const { data, error } = useQuery({ queryKey: ['migration.report', name], queryFn: () => server.migration.report.query({ name }) });
  const one = data?.procedures[0];
  return (
    <Dialog title={name} onClose={onClose}>
      {error ? <Fault error={error} /> : !one ? <Waiting /> : (
        <>
          {one.decided && <p>{one.decided.reason}</p>}
          <p>{t.migration.refusals(count(one.ours.refused), count(one.ours.calls), count(one.theirs.refused), count(one.theirs.calls))}</p>
          {one.mode === 'share' && <p>{t.migration.bets(evidence(one.evidence.fails), evidence(one.evidence.refuses), evidence(one.evidence.slower), evidence(one.evidence.differs))}</p>}
          <p className="small muted">{t.migration.left(count(one.incomparable), count(one.dropped))}</p>
          {one.examples.length === 0 ? <p>{t.migration.noExamples}</p> : (
            <table className="rows">
              <thead><tr><th scope="col">{t.migration.place}</th><th scope="col">{t.migration.theirs}</th><th scope="col">{t.migration.ours}</th></tr></thead>
              <tbody>
                {one.examples.map((example) => (
                  <tr key={example.path}><th scope="row" className="mono">{example.path || t.migration.whole}</th><td data-label={t.migration.theirs}>{example.theirs}</td><td data-label={t.migration.ours}>{example.ours}</td></tr>
                ))}
              </tbody>
            </table>
          )}
        </>
      )}
      <div className="row end"><button type="button" className="btn" data-first onClick={onClose}>{t.migration.close}</button></div>
    </Dialog>
  );
}

function Move({ name: given, onClose }: { name: string; onClose: () => void }): JSX.Element {
  const queries = useQueryClient();
  const [name, setName] = useState(given);
  const [mode, setMode] = useState<Mode>('shadow');
  const [percent, setPercent] = useState('5');
  const [reason, setReason] = useState('');
  const { mutate, isPending, error } = useMutation({
    mutationFn: () => server.migration.set.mutate({ name: name.trim(), mode, reason, ...(mode === 'share' && { percent: Number(percent) }) }),
    onSuccess: async () => {
      note({ tone: 'good', text: t.migration.done(name, t.migration.modes[mode]) });
      await queries.invalidateQueries({ queryKey: ['migration.list'] });
      onClose();
    },
  });
  const send = (event: FormEvent): void => {
    event.preventDefault();
    mutate();
  };
  return (
    <Dialog title={t.migration.move} onClose={onClose}>
      <form onSubmit={send}>
        <label className="labelled">{t.migration.nameRule}<input className="field" data-first required value={name} onChange={(event) => setName(event.target.value)} /></label>
        <label className="labelled">
          {t.migration.answers}
          <select className="field" value={mode} onChange={(event) => setMode(MODES.find((one) => one === event.target.value) ?? 'shadow')}>
            {MODES.map((one) => <option key={one} value={one}>{t.migration.modes[one]}</option>)}
          </select>
        </label>
        {mode === 'share' && <label className="labelled">{t.migration.percent}<input className="field" type="number" min="0.001" max="99.999" step="any" required value={percent} onChange={(event) => setPercent(event.target.value)} /></label>}
        <label className="labelled">{t.migration.reason}<input className="field" required maxLength={1000} value={reason} onChange={(event) => setReason(event.target.value)} /></label>
        <p className="small muted">{t.migration.anew}</p>
        {error && <Fault error={error} />}
        <div className="row end">
          <button type="button" className="btn" onClick={onClose}>{t.shell.cancel}</button>
          <button type="submit" className="btn primary" disabled={isPending}>{t.migration.send}</button>
        </div>
      </form>
    </Dialog>
  );
}
