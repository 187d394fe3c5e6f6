// Changing something: with the version on screen, the reason, and what to do when the state has moved on meanwhile.
import type { RolloutState } from 'modelramp-schema';
import { wait } from './wait.ts';
import { refresh } from './live.ts';
import { codeOf, server, told } from './server.ts';

/** What a change met that was based on an older version. */
export class Conflict extends Error {
  readonly current: RolloutState;

  constructor(current: RolloutState, cause: unknown) {
    super('the rollout has moved on', { cause });
    this.current = current;
  }
}

export interface Asked {
  id: string;
  version: number;
  reason: string;
}

function met(error: unknown): RolloutState | undefined {
  const data = told(error);
  if (data?.code !== 'CONFLICT' && data?.code !== 'PRECONDITION_FAILED') return undefined;
  const details: unknown = data.details;
  if (typeof details !== 'object' || details === null || !('current' in details)) return undefined;
  const { current } = details;
  return typeof current === 'object' && current !== null && 'plan' in current ? (current as RolloutState) : undefined;
}

/** Takes everybody back. Stopping is right in every state, so a version that moved on is taken over by itself, three times at
 * most, and a server that does not answer is asked again for half a minute. */
export async function rollBack(asked: Asked, onRetry: () => void = () => {}): Promise<RolloutState> {
  const end = performance.now() + 30_000;
  let { version } = asked;
  let overtaken = 0;
  for (;;) {
    try {
      const state = await server.rollout.rollback.mutate({ ...asked, version }, { signal: AbortSignal.timeout(10_000) });
      void refresh();
      return state;
    } catch (error) {
      const current = met(error);
      if (current && !current.live) return current;
      if (current && codeOf(error) === 'CONFLICT' && overtaken < 3) {
        overtaken += 1;
        version = current.version;
      } else if ((codeOf(error) === undefined || codeOf(error) === 'SERVICE_UNAVAILABLE') && performance.now() < end) {
        onRetry();
        await wait(1000);
      } else {
        throw error;
      }
    }
  }
}

export type Change =
  | ({ action: 'pause' | 'resume' | 'advance' | 'approve' } & Asked)
  | ({ action: 'set-share'; percent: number } & Asked);

/** Any other change: refused with {@link Conflict} where the rollout has moved on, so that a person decides anew. */
export async function change({ action, ...asked }: Change): Promise<RolloutState> {
  try {
    if (action === 'set-share') {
      return await server.rollout.setShare.mutate(asked as Extract<Change, { action: 'set-share' }>);
    }
    return await server.rollout[action].mutate(asked);
  } catch (error) {
    const current = met(error);
    throw current ? new Conflict(current, error) : error;
  } finally {
    void refresh();
  }
}
