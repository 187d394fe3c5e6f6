// What pages are made of: panels, and the states that any of them may be in.
import { type JSX, type ReactNode, useEffect, useId, useState } from 'react';
import { clock } from '../format.ts';
import { codeOf, curl, told, words } from '../server.ts';
import { t } from '../texts/index.ts';
import { CopyButton } from './Text.tsx';

export function Panel({ title, note, side, children, className = '' }: {
  title: string;
  note?: ReactNode;
  side?: ReactNode;
  children: ReactNode;
  className?: string;
}): JSX.Element {
  const id = useId();
  return (
    <section className={`panel ${className}`} aria-labelledby={id}>
      <header>
        <h2 id={id}>{title}</h2>
        {note && <span className="muted small">{note}</span>}
        <span className="grow" />
        {side}
      </header>
      {children}
    </section>
  );
}

/** The head of a page: its name, and the line that asks the same from a terminal. */
export function Head({ title, children, asks }: { title: string; children?: ReactNode; asks?: [string, unknown?] }): JSX.Element {
  return (
    <div className="head">
      <h1 tabIndex={-1}>{title}</h1>
      <span className="grow" />
      {children}
      {asks && <CopyButton text={curl(...asks)} label={t.shell.copyCurl} />}
    </div>
  );
}

/** Nothing to show: why, and what next. */
export function Empty({ text, children }: { text: string; children?: ReactNode }): JSX.Element {
  return (
    <div className="empty">
      <p>{text}</p>
      {children}
    </div>
  );
}

/** Space of the final size while an answer is waited for; nothing in the first 150 ms. */
export function Waiting({ rows = 4 }: { rows?: number }): JSX.Element {
  const [since, setSince] = useState<'now' | 'while' | 'long'>('now');
  useEffect(() => {
    const soon = setTimeout(() => setSince('while'), 150);
    const late = setTimeout(() => setSince('long'), 5000);
    return () => {
      clearTimeout(soon);
      clearTimeout(late);
    };
  }, []);
  return (
    <div className="waiting" aria-busy="true" aria-label={t.shell.loading} role="status">
      {since !== 'now' && Array.from({ length: rows }, (_, row) => <div key={row} className="bone" />)}
      {since === 'long' && <p className="muted">{t.shell.waiting}</p>}
    </div>
  );
}

/** What went wrong, in the server's words, and what to do about it. */
export function Fault({ error, again }: { error: unknown; again?: () => void }): JSX.Element {
  const data = told(error);
  const retryAt = data && 'retryAfter' in data ? data.retryAfter : undefined;
  const todo = !data ? t.shell.todoUnreachable : retryAt ? t.shell.retryAt(clock(new Date(retryAt))) : t.shell.todo[data.code];
  return (
    <div className="fault" role="alert">
      <p className="strong">{codeOf(error) ? t.shell.failed : t.shell.unreachable}</p>
      {words(error) && <p>{words(error)}</p>}
      {todo && <p className="muted">{todo}</p>}
      <div className="row">
        {data?.requestId && <span className="mono muted">{t.shell.requestId(data.requestId)}</span>}
        {data?.requestId && <CopyButton text={data.requestId} />}
        {again && <button type="button" className="btn small" onClick={again}>{t.shell.reload}</button>}
      </div>
    </div>
  );
}

/** What this server cannot tell yet. */
export function NotThere({ text, children }: { text: string; children?: ReactNode }): JSX.Element {
  return (
    <div className="notthere">
      <p><b className="strong">{t.shell.notThere}.</b> {text}</p>
      {children}
    </div>
  );
}
