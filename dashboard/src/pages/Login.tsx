// The page that a one-time link opens. Only the button spends the link, so that a preview or a mail scanner does not. The
// secret stands behind the #, which no server and no log sees.
import { useQueryClient } from '@tanstack/react-query';
import { type JSX, useEffect, useState } from 'react';
import { useLocation } from 'wouter';
import { useTitle } from '../parts/hooks.ts';
import { Command } from '../parts/Text.tsx';
import { serviceLink, useService, useWho } from '../session.ts';
import { t } from '../texts/index.ts';

/** The page of the dashboard that was asked for; its beginning where that is none. */
function wanted(): string {
  const next = new URLSearchParams(location.search).get('next');
  return next?.startsWith('/') ? next : '/';
}

interface Failed {
  text: string;
  /** Whether the link still holds, and may be tried again. */
  again: boolean;
}

async function failure(response: Response): Promise<Failed> {
  if (response.status === 429) return { text: t.login.limited, again: true };
  if (response.status >= 500) return { text: t.login.away, again: true };
  if (response.status === 401) return { text: t.login.failed, again: false };
  const body = (await response.json().catch(() => ({}))) as { error?: string };
  return { text: body.error ?? t.login.failed, again: false };
}

export function Login(): JSX.Element {
  const [next] = useState(wanted);
  const [token] = useState(() => new URLSearchParams(location.hash.slice(1)).get('t'));
  const [failed, setFailed] = useState<Failed | null>(null);
  const queries = useQueryClient();
  const who = useWho();
  const [, go] = useLocation();
  useTitle(`${t.login.title} · modelramp`);
  useEffect(() => {
    // The secret is in memory now; the address is not to keep it.
    if (token) history.replaceState(null, '', location.pathname + location.search);
  }, [token]);
  useEffect(() => {
    if (who && !token) go(next, { replace: true });
  }, [who, token, go, next]);
  const signIn = async (): Promise<void> => {
    setFailed(null);
    try {
      const response = await fetch('/api/auth/login', {
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        body: JSON.stringify({ token }),
      });
      if (!response.ok) {
        setFailed(await failure(response));
        return;
      }
      await queries.resetQueries();
      go(next, { replace: true });
    } catch {
      setFailed({ text: t.shell.unreachable, again: true });
    }
  };
  const service = useService();
  return (
    <main className="bare">
      <h1>{t.login.title}</h1>
      {failed && <p role="alert" className="strong">{failed.text}</p>}
      {token && (!failed || failed.again) && (
        <>
          {!failed && <p>{t.login.ready}</p>}
          <button type="button" className="btn primary" autoFocus onClick={() => void signIn()}>{failed ? t.shell.tryAgain : t.login.button}</button>
        </>
      )}
      {service && <p><a className="btn" href={serviceLink(next)}>{t.login.service}</a></p>}
      {(!token || failed?.again === false) && (
        <>
          {!failed && <p>{t.login.by}</p>}
          <Command text="modelramp token --login-link --user 1 --role admin" />
        </>
      )}
    </main>
  );
}
