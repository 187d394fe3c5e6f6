// The front end: one client for each link, as applications set them up. Bundled by run.mjs.
import {
  createTRPCClient, createWSClient, httpBatchLink, httpBatchStreamLink, httpSubscriptionLink, splitLink, wsLink,
} from '@trpc/client';
import superjson from 'superjson';

const clients = new Map();
const client = (kind, base) => {
  const key = `${kind} ${base}`;
  if (!clients.has(key)) {
    const http = {
      url: `${base}/api/trpc`,
      transformer: superjson,
      fetch: (url, init) => fetch(url, { ...init, credentials: 'include' }),
    };
    const events = httpSubscriptionLink({ ...http, eventSourceOptions: { withCredentials: true } });
    const calls = {
      batch: () => httpBatchLink(http),
      stream: () => httpBatchStreamLink(http),
      ws: () => wsLink({
        client: createWSClient({ url: http.url.replace(/^http/, 'ws'), lazy: { enabled: true, closeMs: 0 } }),
        transformer: superjson,
      }),
    }[kind]();
    const links = kind === 'ws'
      ? [calls]
      : [splitLink({ condition: (op) => op.type === 'subscription', true: events, false: calls })];
    clients.set(key, createTRPCClient({ links }));
  }
  return clients.get(key);
};
const at = (target, path) => path.split('.').reduce((inner, name) => inner[name], target);
const outcome = async (promise) => {
  try { return { data: await promise }; } catch (error) {
    return { error: error.message, code: error.data?.code, status: error.data?.httpStatus };
  }
};

window.query = (kind, base, path, input) => outcome(at(client(kind, base), path).query(input));
window.mutate = (kind, base, path, input) => outcome(at(client(kind, base), path).mutate(input));
/** Several calls in one tick, which the batching links put into one request. */
window.together = (kind, base, calls) => Promise.all(calls.map(([how, path, input]) => window[how](kind, base, path, input)));
window.post = async (url, body) => {
  const init = { method: 'POST', credentials: 'include', headers: { 'content-type': 'application/json', 'x-trpc-source': 'react', traceparent: '00-1-2-03' } };
  return outcome(fetch(url, { ...init, body: JSON.stringify(body ?? {}) }).then(async (r) => ({ status: r.status, body: await r.json() })));
};
/** Counts the events of a subscription, and keeps how it ended. */
window.subscribe = (kind, base, path, input) => {
  const seen = { events: 0, ended: null };
  at(client(kind, base), path).subscribe(input, {
    onData: () => { seen.events += 1; },
    onError: (error) => { seen.ended = error.data?.code ?? error.message; },
    onComplete: () => { seen.ended ??= 'complete'; },
  });
  window.seen ??= [];
  return window.seen.push(seen) - 1;
};
window.ready = true;
