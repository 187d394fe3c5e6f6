// What is going on now, from one stream for the whole tab: the live rollouts with their evidence, the flags, the models, and
// whether the server is heard. A pulse holds everything, so one that was missed is no loss.
import type { FlagsState, Pulse, RolloutDetails } from 'modelramp-schema';
import { useSyncExternalStore } from 'react';
import { isRehearsal } from './judgement.ts';
import { codeOf, heard, server } from './server.ts';

export type Connection = 'connecting' | 'live' | 'polling' | 'delayed' | 'lost' | 'signed-out' | 'forbidden';

/** One reading of a rollout's evidence, kept while the tab is open. */
export interface Sample {
  at: number;
  e: number;
  ratio: number | null;
}

export interface Live {
  connection: Connection;
  /** When the figures were told, by the server's clock; `null` before the first. */
  at: Date | null;
  pulse: Pulse | null;
  /** The live rollouts without rehearsals, the most alarming first. */
  rollouts: RolloutDetails[];
  flags: FlagsState | null;
  /** Changes that were missed while there was no connection; told once. */
  missed: number;
}

const DELAYED_MS = 5000;
const LOST_MS = 15_000;
/** A stream that has been silent for so long is opened anew; pulses come every second. */
const STUCK_MS = 8000;
/** A stream that has told nothing since it was opened is behind something that holds it back: the tab asks by itself. */
const HELD_BACK_MS = 10_000;
const POLL_MS = 5000;
/** A tab that nobody sees gives its stream back after this long, and then asks as seldom: its title tells the state. */
const HIDDEN_MS = 60_000;
const MOST_SAMPLES = 900;

let state: Live = { connection: 'connecting', at: null, pulse: null, rollouts: [], flags: null, missed: 0 };
let heardAt = 0;
const listeners = new Set<() => void>();
const samples = new Map<string, Sample[]>();

const publish = (change: Partial<Live>): void => {
  state = { ...state, ...change };
  for (const listener of listeners) listener();
};

const ALARM: Record<RolloutDetails['level'], number> = { clear: 0, watch: 1, hold: 2, rollback: 3 };
const alarm = (rollout: RolloutDetails): number =>
  ALARM[rollout.level] + (rollout.state.name === 'holding' ? 0.5 : 0) + (rollout.outage ? 2 : 0);

function sample({ id, finding: { candidate, control, e }, verdict }: RolloutDetails): void {
  const kept = samples.get(id) ?? [];
  const last = kept.at(-1);
  if (last && (verdict.atMs <= last.at || (e === last.e && verdict.atMs - last.at < 10_000))) return;
  const ratio = candidate.errors > 0 && control.errors > 0 ? (candidate.errors / candidate.requests) / (control.errors / control.requests) : null;
  samples.set(id, [...kept, { at: verdict.atMs, e, ratio }].slice(-MOST_SAMPLES));
}

/** The readings since the tab was opened. */
export const samplesOf = (id: string): Sample[] => samples.get(id) ?? [];

/** Changes between two pulses; of a rollout that has ended meanwhile its end alone is known. */
function changesBetween(before: Live, now: Live): number {
  const known = new Map(before.rollouts.map(({ id, version }) => [id, version]));
  const ids = new Set(now.rollouts.map(({ id }) => id));
  const moved = now.rollouts.reduce((sum, { id, version }) => sum + version - (known.get(id) ?? 0), 0);
  const ended = before.rollouts.filter(({ id }) => !ids.has(id)).length;
  return moved + ended + (now.flags?.version ?? 0) - (before.flags?.version ?? 0);
}

function take(pulse: Pulse, connection: 'live' | 'polling'): void {
  heardAt = performance.now();
  heard(pulse.serverTime);
  const rollouts = pulse.live.filter((rollout) => !isRehearsal(rollout)).toSorted((a, b) => alarm(b) - alarm(a));
  for (const rollout of rollouts) sample(rollout);
  const before = state;
  const now: Live = { connection, at: pulse.serverTime, pulse, rollouts, flags: pulse.flags, missed: 0 };
  if (before.connection === 'lost') now.missed = Math.max(0, changesBetween(before, now));
  publish(now);
}

/** Ends what the server refuses; anything else is silence, and the watch below says how long it has lasted. */
function refused(error: unknown): void {
  const code = codeOf(error);
  if (code === 'UNAUTHORIZED') publish({ connection: 'signed-out' });
  else if (code === 'FORBIDDEN') publish({ connection: 'forbidden' });
}

/** Asks now, beside the stream: after an own change, after a sign-in, and where the stream is held back. */
export async function refresh(): Promise<void> {
  try {
    const pulse = await server.dashboard.pulse.query(undefined, { signal: AbortSignal.timeout(10_000) });
    take(pulse, state.connection === 'polling' ? 'polling' : 'live');
  } catch (error) {
    refused(error);
  }
}

let reopen = (): void => {};

/** Goes on with the session that took the place of the one before: a stream ends with the session that opened it. */
export async function goOn(): Promise<void> {
  reopen();
  await refresh();
}

interface Stream {
  unsubscribe: () => void;
}

/** Follows the server until the returned function is called. */
export function follow(): () => void {
  let stream: Stream | null = null;
  let openedAt = 0;
  let told = false;
  let polledAt = 0;
  let hiddenAt: number | null = document.hidden ? performance.now() : null;

  const open = (): void => {
    stream?.unsubscribe();
    openedAt = performance.now();
    told = false;
    stream = server.dashboard.onPulse.subscribe(undefined, {
      onData: ({ data }) => {
        told = true;
        take(data, 'live');
      },
      onError: refused,
    });
  };
  const close = (): void => {
    stream?.unsubscribe();
    stream = null;
  };
  const watch = (): void => {
    const now = performance.now();
    const isOut = state.connection === 'signed-out' || state.connection === 'forbidden';
    if (isOut) return close();
    if (hiddenAt !== null && now - hiddenAt > HIDDEN_MS) {
      close();
      if (now - polledAt > HIDDEN_MS) {
        polledAt = now;
        void refresh();
      }
      if (now - heardAt > 3 * HIDDEN_MS && state.connection !== 'lost') publish({ connection: 'lost' });
      return;
    }
    if (!stream || (told && now - heardAt > STUCK_MS && now - openedAt > STUCK_MS)) open();
    if (!told && now - openedAt > HELD_BACK_MS && now - polledAt > POLL_MS) {
      polledAt = now;
      if (state.connection === 'live' || state.connection === 'connecting') publish({ connection: 'polling' });
      void refresh();
    }
    const silent = now - heardAt;
    if (silent > LOST_MS) {
      if (state.connection !== 'lost') publish({ connection: 'lost' });
    } else if (silent > (state.connection === 'polling' ? 2 * POLL_MS : DELAYED_MS) && state.at && state.connection !== 'delayed') {
      publish({ connection: 'delayed' });
    }
  };
  const seen = (): void => {
    hiddenAt = document.hidden ? performance.now() : null;
    if (!document.hidden) {
      // What was asleep has heard nothing and says so only if the answer does not come.
      if (!stream) heardAt = performance.now();
      watch();
    }
  };

  heardAt = performance.now();
  open();
  reopen = () => {
    if (stream) open();
  };
  document.addEventListener('visibilitychange', seen);
  const timer = setInterval(watch, 500);
  return () => {
    reopen = () => {};
    close();
    clearInterval(timer);
    document.removeEventListener('visibilitychange', seen);
  };
}

/** Seconds since anything was heard. */
export const silentSeconds = (): number => Math.floor((performance.now() - heardAt) / 1000);

const subscribe = (listener: () => void): (() => void) => {
  listeners.add(listener);
  return () => listeners.delete(listener);
};

export const useLive = (): Live => useSyncExternalStore(subscribe, () => state);
