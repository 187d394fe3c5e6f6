// Sixteen-pixel drawings in the colour of the text. They repeat what a word beside them says, so they are hidden from readers.
import type { JSX } from 'react';
import type { Tone } from '../judgement.ts';

const DRAWINGS = {
  overview: <path d="M3 9l5-5 5 5v5a1 1 0 0 1-1 1H4a1 1 0 0 1-1-1z" />,
  rollouts: <path d="M2 14h4v-4h4V6h4V2" />,
  models: <><rect x="3" y="3" width="10" height="4" rx="1" /><rect x="3" y="9" width="10" height="4" rx="1" /></>,
  requests: <path d="M3 4h10M3 8h10M3 12h6" />,
  explain: <><circle cx="8" cy="8" r="6" /><path d="M6.5 6.2a1.6 1.6 0 1 1 2.2 1.6c-.5.2-.7.5-.7 1M8 11.3v.1" /></>,
  flags: <path d="M4 15V2h8l-2 3 2 3H4" />,
  alerts: <path d="M4 11V7a4 4 0 0 1 8 0v4l1 1H3zM7 14h2" />,
  audit: <path d="M4 2h6l3 3v9H4zM6 8h5M6 11h5" />,
  migration: <path d="M2 5h9M8 2l3 3-3 3M14 11H5M8 8l-3 3 3 3" />,
  keys: <><circle cx="5" cy="8" r="3" /><path d="M8 8h6.5M12 8v3" /></>,
  settings: <><circle cx="8" cy="8" r="2.2" /><path d="M8 1.5v2M8 12.5v2M1.5 8h2M12.5 8h2M3.4 3.4l1.4 1.4M11.2 11.2l1.4 1.4M3.4 12.6l1.4-1.4M11.2 4.8l1.4-1.4" /></>,
  more: <><circle cx="3.5" cy="8" r=".8" /><circle cx="8" cy="8" r=".8" /><circle cx="12.5" cy="8" r=".8" /></>,
  good: <><circle cx="8" cy="8" r="6" /><path d="M5.3 8.2l1.9 1.9 3.5-4" /></>,
  watch: <><path d="M8 2l6.5 11.5h-13z" /><path d="M8 6.5v3M8 11.4v.1" /></>,
  hold: <><rect x="2" y="2" width="12" height="12" rx="2" /><path d="M6.2 5.5v5M9.8 5.5v5" /></>,
  bad: <><path d="M5.4 1.8h5.2l3.6 3.6v5.2l-3.6 3.6H5.4l-3.6-3.6V5.4z" /><path d="M5.9 5.9l4.2 4.2M10.1 5.9l-4.2 4.2" /></>,
  quiet: <><circle cx="8" cy="8" r="6" /><path d="M8 7.2v3.6M8 5.1v.1" /></>,
  up: <path d="M8 13V3M4 7l4-4 4 4" />,
  down: <path d="M8 3v10M4 9l4 4 4-4" />,
  play: <path d="M5 3l8 5-8 5z" />,
  pause: <><rect x="2" y="2" width="12" height="12" rx="2" /><path d="M6.2 5.5v5M9.8 5.5v5" /></>,
  person: <><circle cx="8" cy="5.2" r="2.7" /><path d="M2.8 14c.6-3 2.6-4.4 5.2-4.4s4.6 1.4 5.2 4.4" /></>,
  close: <path d="M4 4l8 8M12 4l-8 8" />,
  find: <><circle cx="7" cy="7" r="4.5" /><path d="M10.4 10.4L14 14" /></>,
  right: <path d="M6 3l5 5-5 5" />,
} satisfies Record<string, JSX.Element>;

export type IconName = keyof typeof DRAWINGS;

export function Icon({ name, className }: { name: IconName; className?: string }): JSX.Element {
  return (
    <svg viewBox="0 0 16 16" className={className} aria-hidden="true" fill="none" stroke="currentColor" strokeWidth="1.5" strokeLinecap="round" strokeLinejoin="round">
      {DRAWINGS[name]}
    </svg>
  );
}

/** A state in a word, with its icon: never colour alone. */
export function Tag({ tone, children }: { tone: Tone; children: string }): JSX.Element {
  return (
    <span className={`tag ${tone}`}>
      <Icon name={tone} />
      {children}
    </span>
  );
}
