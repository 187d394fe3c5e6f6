// What this browser was told, and what is in force on the server.
import { useQuery, useQueryClient } from '@tanstack/react-query';
import { type JSX, useState } from 'react';
import { useLocation, useSearchParams } from 'wouter';
import { duration } from '../format.ts';
import { Fault, Head, Panel, Waiting } from '../parts/Panel.tsx';
import { useTitle } from '../parts/hooks.ts';
import { type Preferences, prefer, usePreferences } from '../preferences.ts';
import { clockError, server } from '../server.ts';
import { useWho } from '../session.ts';
import { t } from '../texts/index.ts';

function Choice<K extends 'theme' | 'language' | 'zone'>({ name, title, choices }: { name: K; title: string; choices: Record<Preferences[K], string> }): JSX.Element {
  const now = usePreferences();
  return (
    <label className="labelled">
      {title}
      <select className="field" value={now[name]} onChange={(event) => prefer({ [name]: event.target.value })}>
        {Object.entries<string>(choices).map(([value, text]) => <option key={value} value={value}>{text}</option>)}
      </select>
    </label>
  );
}

export function Settings(): JSX.Element {
  const { letters } = usePreferences();
  const who = useWho();
  const queries = useQueryClient();
  const [, go] = useLocation();
  const [error, setError] = useState<unknown>(null);
  useTitle(`${t.settings.title} · modelramp`);
  const off = clockError();
  const signOut = async (): Promise<void> => {
    try {
      await server.auth.logout.mutate();
      queries.clear();
      go('/login');
    } catch (failed) {
      setError(failed);
    }
  };
  return (
    <>
      <Head title={t.settings.title} />
      <Panel title={t.settings.you} note={who && t.shell.signedInAs(who.name, who.role)} side={<button type="button" className="btn small" onClick={() => void signOut()}>{t.settings.signOut}</button>}>
        <div className="pad form">
          <div className="three">
            <Choice name="theme" title={t.settings.theme} choices={t.settings.themes} />
            <Choice name="language" title={t.settings.language} choices={{ en: 'English', da: 'Dansk' }} />
            <Choice name="zone" title={t.settings.zone} choices={t.settings.zones} />
          </div>
          <label className="check"><input type="checkbox" checked={letters} onChange={(event) => prefer({ letters: event.target.checked })} />{t.settings.lettersOn}</label>
          {Math.abs(off) > 5000 && <p className="banner watch">{t.settings.clock(duration(Math.abs(off)))}</p>}
          {error !== null && <Fault error={error} />}
        </div>
      </Panel>
      {who?.role === 'admin' && <OfServer />}
    </>
  );
}

/** Every setting of the server, a secret only as set or not. */
function OfServer(): JSX.Element {
  const [search, setSearch] = useSearchParams();
  const { data, error, refetch } = useQuery({ queryKey: ['settings.list'], queryFn: () => server.settings.list.query(), staleTime: Infinity });
  const sought = search.get('find') ?? '';
  const shown = data?.filter(({ name, meaning, group }) => `${name} ${meaning} ${group}`.toLowerCase().includes(sought.toLowerCase()));
  return (
    <Panel
      title={t.settings.server}
      side={<label className="labelled inline"><span className="sr">{t.settings.filter}</span><input className="field" data-filter placeholder={t.settings.filter} value={sought} onChange={(event) => setSearch(event.target.value ? { find: event.target.value } : {}, { replace: true })} /></label>}
    >
      {error ? <Fault error={error} again={() => void refetch()} /> : !shown ? <Waiting /> : (
        <table className="rows">
          <thead><tr><th scope="col">{t.settings.name}</th><th scope="col">{t.settings.value}</th><th scope="col">{t.settings.source}</th><th scope="col">{t.settings.meaning}</th></tr></thead>
          <tbody>
            {shown.map((row) => (
              <tr key={row.name}>
                <th scope="row" className="mono">{row.name}<span className="sub">{row.group}</span></th>
                <td data-label={t.settings.value} className="mono">{row.secret ? (row.set ? t.settings.isSet : t.settings.notSet) : (row.value ?? t.settings.notSet)}</td>
                <td data-label={t.settings.source}>{row.source}</td>
                <td data-label={t.settings.meaning} className="long small">{row.meaning}</td>
              </tr>
            ))}
          </tbody>
        </table>
      )}
    </Panel>
  );
}
