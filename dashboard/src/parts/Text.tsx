// Small pieces of text that every page uses.
import { Fragment, type JSX, useState } from 'react';
import { absolute, duration, moment, momentExact } from '../format.ts';
import { serverNow } from '../server.ts';
import { t } from '../texts/index.ts';

/** A text in which `**…**` is strong. */
export function Rich({ text }: { text: string }): JSX.Element {
  return (
    <>
      {text.split('**').map((part, place) =>
        place % 2 === 1 ? <b key={place} className="strong">{part}</b> : <Fragment key={place}>{part}</Fragment>,
      )}
    </>
  );
}

/** A moment, with everything about it as title and for readers. */
export function When({ at, ago = false, exact = false }: { at: Date; ago?: boolean; exact?: boolean }): JSX.Element {
  const text = ago ? t.shell.ago(duration(serverNow().getTime() - at.getTime())) : exact ? momentExact(at) : moment(at);
  return (
    <time dateTime={at.toISOString()} title={absolute(at)}>
      {text}
    </time>
  );
}

/** `user:7` as people say it. */
export function actorName(actor: string): string {
  if (actor === 'controller' || actor === 'settings' || actor === 'command-line' || actor === 'sign-in') return t.timeline.actor[actor];
  return actor.startsWith('user:') ? t.timeline.user(actor.slice(5)) : actor;
}

/** Copies a text; `false` where this browser does not let a page do it. Over plain HTTP it has no `navigator.clipboard`, and only
 * what is selected can be copied: inside the dialog that is open, as everything else is inert. */
async function copy(text: string, beside: HTMLElement): Promise<boolean> {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    const field = document.createElement('textarea');
    field.value = text;
    field.className = 'sr';
    (beside.closest('dialog') ?? document.body).append(field);
    field.select();
    const copied = document.execCommand('copy');
    field.remove();
    beside.focus();
    return copied;
  }
}

export function CopyButton({ text, label = t.shell.copy }: { text: string; label?: string }): JSX.Element {
  const [copied, setCopied] = useState<boolean | null>(null);
  return (
    <button
      type="button"
      className="btn small"
      onClick={(event) => void copy(text, event.currentTarget).then(setCopied)}
    >
      {copied === null ? label : copied ? t.shell.copied : t.shell.notCopied}
    </button>
  );
}

/** A line for a terminal. */
export function Command({ text }: { text: string }): JSX.Element {
  return (
    <div className="copy">
      <code className="mono">{text}</code>
      <CopyButton text={text} />
    </div>
  );
}

/** The whole list as a file, by the server; what is on the page may be a part of it. */
export function CsvLink({ file, input }: { file: 'requests' | 'audit' | 'alerts' | 'series'; input: object }): JSX.Element {
  return (
    <a className="btn small" href={`/dashboard/export/${file}.csv?input=${encodeURIComponent(JSON.stringify(input))}`} download={`${file}.csv`}>
      {t.shell.csv}
    </a>
  );
}

/** Rows as CSV (RFC 4180): times in UTC, and no cell that a spreadsheet would run. */
export function csv(head: string[], rows: (string | number | Date | null | undefined)[][]): string {
  const cell = (value: string | number | Date | null | undefined): string => {
    if (value == null) return '';
    const text = value instanceof Date ? value.toISOString() : `${value}`;
    const safe = typeof value === 'string' && /^[=+\-@\t\r]/.test(text) ? `'${text}` : text;
    return /[",\r\n]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe;
  };
  return [head, ...rows].map((row) => row.map(cell).join(',')).join('\r\n') + '\r\n';
}

export function CsvButton({ name, make }: { name: string; make: () => string }): JSX.Element {
  return (
    <button
      type="button"
      className="btn small"
      onClick={() => {
        const link = document.createElement('a');
        link.href = URL.createObjectURL(new Blob([make()], { type: 'text/csv' }));
        link.download = `${name}.csv`;
        link.click();
        URL.revokeObjectURL(link.href);
      }}
    >
      {t.shell.csv}
    </button>
  );
}
