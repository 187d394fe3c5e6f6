// Letters as shortcuts (WCAG 2.1.4: they can be switched off, and do nothing while a field has the focus).
import { useEffect, useRef } from 'react';
import { useLocation } from 'wouter';
import { preferences } from '../preferences.ts';
import { PAGES } from './pages.ts';

export type Opened = 'stop' | 'find' | 'help';

const typing = (target: EventTarget | null): boolean =>
  target instanceof HTMLElement && (target.isContentEditable || /^(input|textarea|select)$/i.test(target.tagName));

/** The rows that `j` and `k` go through, and what `Enter` opens. */
function step(by: number): void {
  const rows = [...document.querySelectorAll<HTMLElement>('main [data-row]')];
  if (rows.length === 0) return;
  const at = rows.findIndex((row) => row === document.activeElement || row.contains(document.activeElement));
  rows[Math.min(rows.length - 1, Math.max(0, at + by))]?.focus();
}

/** Opens the decision before or after the one that is open. */
function decision(by: number): void {
  const all = [...document.querySelectorAll<HTMLDetailsElement>('main details[data-decision]')];
  if (all.length === 0) return;
  const at = all.findIndex((details) => details.open);
  const next = all[Math.min(all.length - 1, Math.max(0, at < 0 ? 0 : at + by))];
  for (const details of all) details.open = details === next;
  next?.querySelector('summary')?.focus();
}

export function useKeys(open: (what: Opened) => void): void {
  const [, go] = useLocation();
  const before = useRef({ key: '', at: 0 });
  useEffect(() => {
    const pressed = (event: KeyboardEvent): void => {
      if ((event.ctrlKey || event.metaKey) && event.key.toLowerCase() === 'k') {
        event.preventDefault();
        open('find');
        return;
      }
      if (event.ctrlKey || event.metaKey || event.altKey || typing(event.target) || !preferences().letters || document.querySelector('dialog[open]')) return;
      const last = before.current;
      before.current = { key: event.key, at: event.timeStamp };
      if (last.key === 'g' && event.timeStamp - last.at < 1500) {
        const page = PAGES.find(({ letter }) => letter === event.key);
        if (page) {
          event.preventDefault();
          go(page.path);
        }
        before.current = { key: '', at: 0 };
        return;
      }
      const does: Record<string, () => void> = {
        s: () => open('stop'),
        S: () => open('stop'),
        '?': () => open('help'),
        '/': () => document.querySelector<HTMLElement>('main [data-filter]')?.focus(),
        j: () => step(1),
        k: () => step(-1),
        '[': () => decision(1),
        ']': () => decision(-1),
        e: () => document.querySelector<HTMLElement>('main details.evid > summary')?.click(),
      };
      const act = does[event.key];
      if (act) {
        event.preventDefault();
        act();
      }
    };
    document.addEventListener('keydown', pressed);
    return () => document.removeEventListener('keydown', pressed);
  }, [go, open]);
}
