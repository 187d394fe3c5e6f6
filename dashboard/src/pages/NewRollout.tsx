// Starting a rollout: the plan checked with every fault, what it says, whom it moves, then reason and share typed.
import { useMutation, useQuery } from '@tanstack/react-query';
import type { Checked } from 'modelramp-schema';
import { type FormEvent, type JSX, useState } from 'react';
import { useLocation, useSearchParams } from 'wouter';
import { duration, ratio, share } from '../format.ts';
import { refresh, useLive } from '../live.ts';
import { note } from '../notices.ts';
import { Fault, Head, Panel, Waiting } from '../parts/Panel.tsx';
import { useTitle } from '../parts/hooks.ts';
import { server, told } from '../server.ts';
import { useMayChange } from '../session.ts';
import { t } from '../texts/index.ts';

export function NewRollout(): JSX.Element {
  const [search, setSearch] = useSearchParams();
  const mayChange = useMayChange();
  const named = search.get('plan') ?? 'standard';
  const [toml, setToml] = useState<string | null>(null);
  const [perDay, setPerDay] = useState('');
  const [baseline, setBaseline] = useState('2');
  const [checking, setChecking] = useState<{ plan: string; requestsPerDay?: number; baseline?: number } | null>(null);
  const plans = useQuery({ queryKey: ['rollout.plans'], queryFn: () => server.rollout.plans.query(), staleTime: Infinity });
  useTitle(`${t.start.title} · modelramp`);
  const { data: checked, error, isFetching } = useQuery({
    queryKey: ['rollout.validate', checking],
    queryFn: () => server.rollout.validate.query(checking!),
    enabled: checking !== null,
    staleTime: Infinity,
  });
  const check = (event: FormEvent): void => {
    event.preventDefault();
    setChecking({
      plan: toml ?? named,
      ...(Number(perDay) > 0 && { requestsPerDay: Number(perDay) }),
      baseline: Number(baseline.replace(',', '.')) || 2,
    });
  };
  return (
    <>
      <Head title={t.start.title} asks={['rollout.validate', { plan: toml ?? named }]} />
      {!mayChange && <p className="banner quiet">{t.shell.viewer}</p>}
      <Panel title={t.start.plan}>
        <form className="pad form" onSubmit={check}>
          <div className="row" role="group" aria-label={t.start.plan}>
            <label className="chip"><input type="radio" name="kind" checked={toml === null} onChange={() => setToml(null)} />{t.start.named}</label>
            <label className="chip"><input type="radio" name="kind" checked={toml !== null} onChange={() => setToml('')} />{t.start.pasted}</label>
          </div>
          {toml === null ? (
            <label className="labelled">
              {t.start.plan}
              <input className="field" list="plans" value={named} required onChange={(event) => setSearch({ plan: event.target.value }, { replace: true })} />
              <datalist id="plans">{plans.data?.map(({ name, description }) => <option key={name} value={name}>{description}</option>)}</datalist>
            </label>
          ) : (
            <label className="labelled">
              {t.start.toml}
              <textarea className="field mono" rows={12} spellCheck={false} value={toml} required onChange={(event) => setToml(event.target.value)} />
            </label>
          )}
          <div className="two">
            <label className="labelled">{t.start.perDay}<input className="field num" inputMode="numeric" value={perDay} onChange={(event) => setPerDay(event.target.value)} /></label>
            <label className="labelled">{t.start.baseline}<input className="field num" inputMode="decimal" value={baseline} onChange={(event) => setBaseline(event.target.value)} /></label>
          </div>
          <div className="row"><button type="submit" className="btn primary" disabled={isFetching}>{t.start.check}</button></div>
        </form>
      </Panel>
      {error && <Fault error={error} />}
      {checked && checking && <Verdict checked={checked} />}
      {checked?.valid && checking?.requestsPerDay && <Forecast plan={checking.plan} requestsPerDay={checking.requestsPerDay} baseline={checking.baseline ?? 2} />}
      {checked?.valid && checking && mayChange && <Start plan={checking.plan} checked={checked} />}
    </>
  );
}

function Verdict({ checked }: { checked: Checked }): JSX.Element {
  const { rollouts } = useLive();
  const covers = checked.plan?.tasks ?? [];
  const overlaps = rollouts.flatMap((rollout) => {
    if (!checked.plan) return [];
    const shared = rollout.tasks.length === 0 ? covers : covers.length === 0 ? rollout.tasks : covers.filter((task) => rollout.tasks.includes(task));
    return shared.length > 0 || (rollout.tasks.length === 0 && covers.length === 0) ? [t.start.taken(shared.join(', ') || t.shell.everything, rollout.plan)] : [];
  });
  return (
    <Panel title={checked.valid ? t.start.fine : t.start.faults}>
      <div className="pad stack">
        {checked.faults.length > 0 && (
          <ul className="plain">{checked.faults.map((fault) => <li key={`${fault.line}${fault.message}`} className="one"><span className="mono muted">{t.start.line(fault.line)}</span> {fault.message}</li>)}</ul>
        )}
        {checked.plan && <p>{t.start.covered(covers.join(', ') || t.shell.everything)}. {t.start.first(share(checked.plan.stages[0]?.share ?? 0))}. {checked.plan.description}</p>}
        {overlaps.map((overlap) => <p key={overlap} className="banner watch">{overlap}</p>)}
        {checked.warnings.length > 0 && (
          <>
            <h3>{t.start.odd}</h3>
            <ul className="plain">{checked.warnings.map((warning) => <li key={warning} className="one">{warning}</li>)}</ul>
          </>
        )}
        {checked.notes.length > 0 && (
          <>
            <h3>{t.start.says}</h3>
            <ul className="plain">{checked.notes.map((sentence) => <li key={sentence} className="one">{sentence}</li>)}</ul>
          </>
        )}
        <p className="small muted">{t.start.forecast}</p>
      </div>
    </Panel>
  );
}

/** What each stage can see at this traffic, in what time. */
function Forecast(input: { plan: string; requestsPerDay: number; baseline: number }): JSX.Element {
  const { data, error } = useQuery({ queryKey: ['rollout.forecast', input], queryFn: () => server.rollout.forecast.query(input), staleTime: Infinity });
  const hours = (value: number | null): string => (value === null ? t.start.never : duration(value * 36e5));
  return (
    <Panel title={t.start.sees}>
      {error ? <Fault error={error} /> : !data ? <Waiting /> : (
        <table className="rows">
          <thead><tr><th scope="col">{t.list.stage}</th><th scope="col" className="r">{t.list.share}</th><th scope="col" className="r">{t.start.lasts}</th>{data[0]?.needed.map(({ ratio: worse }) => <th key={worse} scope="col" className="r">{t.start.finds(ratio(worse))}</th>)}<th scope="col" className="r">{t.start.proves}</th></tr></thead>
          <tbody>
            {data.map((stage) => (
              <tr key={stage.name}>
                <th scope="row">{stage.name}</th>
                <td data-label={t.list.share} className="r">{share(stage.share)}</td>
                <td data-label={t.start.lasts} className="r">{hours(stage.hours)}</td>
                {stage.needed.map(({ ratio: worse, hours: needed }) => <td key={worse} data-label={t.start.finds(ratio(worse))} className="r">{hours(needed)}</td>)}
                <td data-label={t.start.proves} className="r">{stage.proofHours === null ? '–' : hours(stage.proofHours)}</td>
              </tr>
            ))}
          </tbody>
        </table>
      )}
    </Panel>
  );
}

function Start({ plan, checked }: { plan: string; checked: Checked }): JSX.Element {
  const [reason, setReason] = useState('');
  const [typed, setTyped] = useState('');
  const [keepUsers, setKeepUsers] = useState(false);
  const [takeBack, setTakeBack] = useState(false);
  const { connection } = useLive();
  const [, go] = useLocation();
  const first = checked.plan?.stages[0]?.share ?? 0;
  const { mutate, isPending, error } = useMutation({
    mutationFn: () => server.rollout.start.mutate({ plan, reason: reason.trim(), keepUsers, takeBack }),
    onSuccess: (started) => {
      note({ tone: 'good', text: t.start.started(started.plan) });
      void refresh();
      go(`/rollouts/${started.id}`);
    },
  });
  const details: unknown = told(error)?.details;
  const takes = typeof details === 'object' && details !== null && 'takenBack' in details ? (details as { takenBack: number; moves: string[] }) : null;
  const confirmed = typed.trim() !== '' && Number(typed.replace(',', '.').replace('%', '')) === first;
  return (
    <Panel title={t.start.go}>
      <form className="pad form" onSubmit={(event) => {
        event.preventDefault();
        mutate();
      }}>
        <label className="labelled">{t.dialog.reason}<input className="field" value={reason} maxLength={1000} required onChange={(event) => setReason(event.target.value)} /></label>
        <label className="labelled">{t.dialog.typed(share(first))}<input className="field num" inputMode="decimal" value={typed} required autoComplete="off" onChange={(event) => setTyped(event.target.value)} /></label>
        <label className="check"><input type="checkbox" checked={keepUsers} onChange={(event) => setKeepUsers(event.target.checked)} />{t.start.keep}</label>
        <label className="check"><input type="checkbox" checked={takeBack} onChange={(event) => setTakeBack(event.target.checked)} />{t.start.takeBack}</label>
        {error && <Fault error={error} />}
        {takes && <><p className="strong">{t.start.wouldTake(share(takes.takenBack))}</p><ul className="plain">{takes.moves.map((move) => <li key={move} className="one">{move}</li>)}</ul></>}
        <div className="row"><button type="submit" className="btn primary" disabled={isPending || !reason.trim() || !confirmed || connection === 'lost'}>{t.start.go}</button></div>
      </form>
    </Panel>
  );
}
