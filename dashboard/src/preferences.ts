// What a person chose for this browser: theme, language, time zone, letters as shortcuts.
import { useSyncExternalStore } from 'react';

export interface Preferences {
  theme: 'system' | 'light' | 'dark';
  language: 'en' | 'da';
  zone: 'local' | 'utc';
  /** Whether single letters do something (WCAG 2.1.4). */
  letters: boolean;
}

const KEY = 'modelramp.preferences';

function read(): Preferences {
  const own: Preferences = {
    theme: 'system',
    language: navigator.language.startsWith('da') ? 'da' : 'en',
    zone: 'local',
    letters: true,
  };
  try {
    const kept: unknown = JSON.parse(localStorage.getItem(KEY) ?? '{}');
    return typeof kept === 'object' && kept !== null ? { ...own, ...kept } : own;
  } catch {
    return own;
  }
}

let current = read();
const listeners = new Set<() => void>();

export const preferences = (): Preferences => current;

export function prefer(change: Partial<Preferences>): void {
  current = { ...current, ...change };
  try {
    localStorage.setItem(KEY, JSON.stringify(current));
  } catch {
    // A browser that keeps nothing still shows what was chosen until the tab closes.
  }
  const root = document.documentElement;
  if (current.theme === 'system') delete root.dataset.theme;
  else root.dataset.theme = current.theme;
  root.lang = current.language;
  for (const listener of listeners) listener();
}

const subscribe = (listener: () => void): (() => void) => {
  listeners.add(listener);
  return () => listeners.delete(listener);
};

export const usePreferences = (): Preferences => useSyncExternalStore(subscribe, preferences);
