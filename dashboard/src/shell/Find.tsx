// Find or go to: pages, live rollouts, models, and a user to explain.
import { type JSX, useMemo, useState } from 'react';
import { useLocation } from 'wouter';
import { useCatalog } from '../catalog.ts';
import { useLive } from '../live.ts';
import { Dialog } from '../parts/Dialog.tsx';
import { t } from '../texts/index.ts';
import { PAGES } from './pages.ts';

interface Target {
  text: string;
  note?: string;
  to: string;
}

export function Find({ onClose }: { onClose: () => void }): JSX.Element {
  const [sought, setSought] = useState('');
  const [chosen, setChosen] = useState(0);
  const [, go] = useLocation();
  const { rollouts } = useLive();
  const catalog = useCatalog();
  const found = useMemo((): Target[] => {
    const all: Target[] = [
      ...PAGES.map(({ name, path }) => ({ text: t.pages[name], to: path })),
      { text: t.pages.start, to: '/rollouts/new' },
      ...rollouts.map(({ id, plan }) => ({ text: plan, note: id, to: `/rollouts/${id}` })),
      ...(catalog?.models ?? []).map(({ name, displayName }) => ({ text: displayName, note: name, to: `/models/${encodeURIComponent(name)}` })),
    ];
    const words = sought.trim().toLowerCase();
    const user = /^(?:user|bruger)?\s*(\d+)$/.exec(words)?.[1];
    const hits = all.filter(({ text, note }) => `${text} ${note ?? ''}`.toLowerCase().includes(words));
    return (user ? [{ text: t.find.explain(user), to: `/explain?user=${user}` }, ...hits] : hits).slice(0, 12);
  }, [sought, rollouts, catalog]);
  const at = Math.min(chosen, Math.max(0, found.length - 1));
  const open = (target: Target | undefined): void => {
    if (!target) return;
    onClose();
    go(target.to);
  };
  return (
    <Dialog title={t.find.title} onClose={onClose} className="palette">
      <input
        className="field"
        data-first
        role="combobox"
        aria-expanded="true"
        aria-controls="found"
        aria-activedescendant={found.length > 0 ? `found-${at}` : undefined}
        aria-label={t.find.title}
        placeholder={t.find.placeholder}
        value={sought}
        onChange={(event) => {
          setSought(event.target.value);
          setChosen(0);
        }}
        onKeyDown={(event) => {
          if (event.key === 'ArrowDown' || event.key === 'ArrowUp') {
            event.preventDefault();
            setChosen((at + (event.key === 'ArrowDown' ? 1 : found.length - 1)) % Math.max(1, found.length));
          } else if (event.key === 'Enter') {
            event.preventDefault();
            open(found[at]);
          }
        }}
      />
      <ul id="found" role="listbox" aria-label={t.find.title}>
        {found.map((target, place) => (
          <li key={target.to} id={`found-${place}`} role="option" aria-selected={place === at} onMouseMove={() => setChosen(place)} onClick={() => open(target)}>
            <span>{target.text}</span>
            {target.note && target.note !== target.text && <span className="mono muted">{target.note}</span>}
          </li>
        ))}
      </ul>
      {found.length === 0 && <p className="muted">{t.find.none}</p>}
      <p className="small muted">{t.find.hint}</p>
    </Dialog>
  );
}
