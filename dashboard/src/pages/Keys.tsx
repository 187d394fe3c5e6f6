// Programs' keys: what they open, what they have spent today, and their end.
import { useMutation, useQuery, useQueryClient } from '@tanstack/react-query';
import type { KeyInfo } from 'modelramp-schema';
import { type JSX, useState } from 'react';
import { count, money } from '../format.ts';
import { note } from '../notices.ts';
import { Dialog } from '../parts/Dialog.tsx';
import { Tag } from '../parts/Icon.tsx';
import { NewKey } from '../parts/NewKey.tsx';
import { Empty, Fault, Head, Panel, Waiting } from '../parts/Panel.tsx';
import { Command, When } from '../parts/Text.tsx';
import { useTitle } from '../parts/hooks.ts';
import { server } from '../server.ts';
import { useMayChange } from '../session.ts';
import { t } from '../texts/index.ts';

export function Keys(): JSX.Element {
  const [revoking, setRevoking] = useState<string | null>(null);
  const [all, setAll] = useState(false);
  const [making, setMaking] = useState(false);
  const mayChange = useMayChange();
  useTitle(`${t.keys.title} · modelramp`);
  const { data, error, refetch } = useQuery({ queryKey: ['keys.list'], queryFn: () => server.keys.list.query(), refetchInterval: 10_000 });
  const shown = data?.filter(({ revokedAt }) => all || revokedAt === null);
  return (
    <>
      <Head title={t.keys.title} asks={['keys.list']}>
        {mayChange && <button type="button" className="btn" onClick={() => setMaking(true)}>{t.keys.makeButton}</button>}
        <label className="check"><input type="checkbox" checked={all} onChange={(event) => setAll(event.target.checked)} />{t.keys.showRevoked}</label>
      </Head>
      <Panel title={t.keys.title}>
        {error ? <Fault error={error} again={() => void refetch()} /> : !shown ? <Waiting /> : shown.length === 0 ? (
          <Empty text={t.keys.empty}><Command text={t.keys.emptyNext} /></Empty>
        ) : (
          <table className="rows">
            <thead><tr><th scope="col">{t.keys.name}</th><th scope="col">{t.keys.models}</th><th scope="col" className="r">{t.keys.tokens}</th><th scope="col" className="r">{t.keys.dollars}</th><th scope="col" className="r">{t.keys.rate}</th><th scope="col">{t.keys.state}</th><th scope="col"><span className="sr">{t.keys.revoke}</span></th></tr></thead>
            <tbody>
              {shown.map((key) => (
                <tr key={key.name}>
                  <th scope="row">{key.name}<span className="sub mono">{key.id}</span></th>
                  <td data-label={t.keys.models} className="long">{key.models?.join(', ') ?? t.keys.all}</td>
                  <td data-label={t.keys.tokens} className="r"><Used used={key.today.tokens} limit={key.limits.tokensPerDay} say={count} /></td>
                  <td data-label={t.keys.dollars} className="r"><Used used={key.today.dollars * 1e6} limit={key.limits.dollarsPerDay === null ? null : key.limits.dollarsPerDay * 1e6} say={money} /></td>
                  <td data-label={t.keys.rate} className="r">{key.limits.requestsPerMinute === null ? t.keys.noLimit : count(key.limits.requestsPerMinute)}</td>
                  <td data-label={t.keys.state}><Standing info={key} /></td>
                  <td>{mayChange && key.holds && <button type="button" className="btn small" onClick={() => setRevoking(key.name)} aria-label={`${t.keys.revoke} ${key.name}`}>{t.keys.revoke}</button>}</td>
                </tr>
              ))}
            </tbody>
          </table>
        )}
      </Panel>
      {making && <NewKey onClose={() => setMaking(false)} />}
      {revoking !== null && <Revoke name={revoking} onClose={() => setRevoking(null)} />}
    </>
  );
}

function Standing({ info }: { info: KeyInfo }): JSX.Element {
  if (info.revokedAt) return <Tag tone="bad">{t.keys.revoked}</Tag>;
  if (!info.holds) return <Tag tone="hold">{t.keys.expired}</Tag>;
  return <><Tag tone="good">{t.keys.holds}</Tag> {info.expiresAt && <span className="small muted"><When at={info.expiresAt} /></span>}</>;
}

function Used({ used, limit, say }: { used: number; limit: number | null; say: (value: number) => string }): JSX.Element {
  if (limit === null) return <>{say(used)} <span className="sub">{t.keys.noLimit}</span></>;
  const part = limit > 0 ? Math.min(1, used / limit) : 1;
  return (
    <div className="quota">
      <span>{t.keys.of(say(used), say(limit))}</span>
      <svg viewBox="0 0 100 8" preserveAspectRatio="none" aria-hidden="true" className={part > 0.8 ? 'low' : ''}>
        <rect className="s-bg" width="100" height="8" /><rect className="fill" width={100 * part} height="8" />
      </svg>
    </div>
  );
}

function Revoke({ name, onClose }: { name: string; onClose: () => void }): JSX.Element {
  const queries = useQueryClient();
  const { mutate, isPending, error } = useMutation({
    mutationFn: () => server.keys.revoke.mutate({ name }),
    onSuccess: async () => {
      note({ tone: 'good', text: t.keys.revokedDone(name) });
      await queries.invalidateQueries({ queryKey: ['keys.list'] });
      onClose();
    },
  });
  return (
    <Dialog title={t.keys.revokeTitle(name)} onClose={onClose}>
      <p>{t.keys.revokeText}</p>
      {error && <Fault error={error} />}
      <div className="row end">
        <button type="button" className="btn" onClick={onClose}>{t.shell.cancel}</button>
        <button type="button" className="btn stop" data-first disabled={isPending} onClick={() => mutate()}>{t.keys.revoke.replace('…', '')}</button>
      </div>
    </Dialog>
  );
}
