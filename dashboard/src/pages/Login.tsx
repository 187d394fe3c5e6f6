// The page that a one-time link opens. Only the button spends the link, so that a preview or a mail scanner does not. The
// secret stands behind the #, which no server and no log sees.
import { useQuery, useQueryClient } from '@tanstack/react-query';
import { type JSX, useEffect, useState } from 'react';
import { useLocation } from 'wouter';
import { useTitle } from '../parts/hooks.ts';
import { Command } from '../parts/Text.tsx';
import { useWho } from '../session.ts';
import { t } from '../texts/index.ts';

export function Login(): JSX.Element {
  const [token] = useState(() => new URLSearchParams(location.hash.slice(1)).get('t'));
  const [failed, setFailed] = useState<string | null>(null);
  const queries = useQueryClient();
  const who = useWho();
  const [, go] = useLocation();
  useTitle(`${t.login.title} · modelramp`);
  useEffect(() => {
    // The secret is in memory now; the address is not to keep it.
    if (token) history.replaceState(null, '', location.pathname);
  }, [token]);
  useEffect(() => {
    if (who && !token) go('/', { replace: true });
  }, [who, token, go]);
  const signIn = async (): Promise<void> => {
    setFailed(null);
    try {
      const response = await fetch('/api/auth/login', {
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        body: JSON.stringify({ token }),
      });
      if (!response.ok) {
        setFailed(response.status === 429 ? t.login.limited : t.login.failed);
        return;
      }
      await queries.resetQueries();
      go('/', { replace: true });
    } catch {
      setFailed(t.shell.unreachable);
    }
  };
  const ways = useQuery({ queryKey: ['ways'], queryFn: () => fetch('/api/auth/ways').then((response) => response.json() as Promise<{ oidc: boolean }>), staleTime: Infinity });
  return (
    <main className="bare">
      <h1>{t.login.title}</h1>
      {token && !failed && (
        <>
          <p>{t.login.ready}</p>
          <button type="button" className="btn primary" autoFocus onClick={() => void signIn()}>{t.login.button}</button>
        </>
      )}
      {failed && <p role="alert" className="strong">{failed}</p>}
      {ways.data?.oidc && <p><a className="btn" href="/api/auth/oidc/start?next=/dashboard/">{t.login.service}</a></p>}
      {(!token || failed) && (
        <>
          {!failed && <p>{t.login.by}</p>}
          <Command text="modelramp token --login-link --user 1 --role admin" />
        </>
      )}
    </main>
  );
}
