// Lines that stay until they are dismissed: what one's own change did, and what came back. Also what is spoken.
import { useSyncExternalStore } from 'react';

export interface Notice {
  id: number;
  tone: 'good' | 'bad';
  text: string;
  link?: { to: string; text: string };
}

let notices: Notice[] = [];
let spoken = { polite: '', assertive: '' };
let next = 1;
const listeners = new Set<() => void>();
const publish = (): void => {
  for (const listener of listeners) listener();
};

export function say(text: string, how: 'polite' | 'assertive' = 'polite'): void {
  spoken = { ...spoken, [how]: text };
  publish();
}

export function note(notice: Omit<Notice, 'id'>, how: 'polite' | 'assertive' = 'polite'): void {
  notices = [...notices, { ...notice, id: next++ }].slice(-4);
  say(notice.text, how);
}

export function dismiss(id: number): void {
  notices = notices.filter((notice) => notice.id !== id);
  publish();
}

const subscribe = (listener: () => void): (() => void) => {
  listeners.add(listener);
  return () => listeners.delete(listener);
};

export const useNotices = (): Notice[] => useSyncExternalStore(subscribe, () => notices);
export const useSpoken = (): typeof spoken => useSyncExternalStore(subscribe, () => spoken);
