// A session that is about to run out is renewed while somebody works; an idle one ends as it should.
import { useEffect } from 'react';
import { goOn, useLive } from '../live.ts';
import { csrf } from '../server.ts';

/** So long before its end. */
const BEFORE_MS = 5 * 60_000;
/** Who has done nothing for so long is not there. */
const IDLE_MS = 30 * 60_000;
/** Between two tries. */
const AGAIN_MS = 60_000;

let touchedAt = performance.now();
let triedAt = -Infinity;
for (const event of ['keydown', 'pointerdown']) addEventListener(event, () => { touchedAt = performance.now(); }, { passive: true });

export function useKeptSession(): void {
  const { pulse } = useLive();
  const left = pulse?.sessionEndsAt ? pulse.sessionEndsAt.getTime() - pulse.serverTime.getTime() : Infinity;
  useEffect(() => {
    const now = performance.now();
    if (left > BEFORE_MS || left <= 0 || now - touchedAt > IDLE_MS || now - triedAt < AGAIN_MS) return;
    triedAt = now;
    void csrf()
      .then((headers) => fetch('/api/auth/refresh', { method: 'POST', headers }))
      .then(async (response) => {
        if (response.ok) await goOn();
      })
      .catch(() => undefined);
  }, [left]);
}
