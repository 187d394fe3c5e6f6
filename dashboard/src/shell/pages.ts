// The pages of the navigation, and the letter after `g` that leads to each.
import type { IconName } from '../parts/Icon.tsx';

export const PAGES = [
  { name: 'overview', path: '/', letter: 'o' },
  { name: 'rollouts', path: '/rollouts', letter: 'r' },
  { name: 'models', path: '/models', letter: 'm' },
  { name: 'requests', path: '/requests', letter: 'q' },
  { name: 'explain', path: '/explain', letter: 'e' },
  { name: 'flags', path: '/flags', letter: 'f' },
  { name: 'alerts', path: '/alerts', letter: 'a' },
  { name: 'audit', path: '/audit', letter: 'u' },
  { name: 'migration', path: '/migration', letter: 'p' },
  { name: 'keys', path: '/keys', letter: 'k' },
  { name: 'settings', path: '/settings', letter: 's' },
] as const satisfies { name: IconName; path: string; letter: string }[];

/** Whether a page is the one that is shown, or the one above it. */
export const isCurrent = (path: string, location: string): boolean =>
  path === '/' ? location === '/' : location === path || location.startsWith(`${path}/`);
