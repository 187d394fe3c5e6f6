// A front end as the original had it: chat.sendMessage alone, everything else batched, superjson, cookies, and the
// header that it copies from the cookie against forged requests. It knows nothing of two servers. Bundled by moves.mjs.
import { createTRPCClient, httpBatchLink, httpLink, splitLink } from '@trpc/client';
import superjson from 'superjson';

const csrf = () => document.cookie.split('; ').find((it) => it.startsWith('__csrf_token='))?.split('=')[1];
const options = {
  url: '/api/trpc',
  transformer: superjson,
  fetch: (url, init) => fetch(url, { ...init, credentials: 'include' }),
  headers: () => (csrf() ? { 'X-CSRF-Token': csrf() } : {}),
};
const client = createTRPCClient({
  links: [splitLink({
    condition: (op) => op.type === 'mutation' && op.path === 'chat.sendMessage',
    true: httpLink(options),
    false: httpBatchLink(options),
  })],
});

// What its pages ask for, over and over.
const mail = { threadId: 't1', from: 'anna@example.com', to: 'bo@example.com', subject: 'Hej', body: 'Hej Bo' };
const calls = {
  'system.health': () => client.system.health.query({ timestamp: Date.now() }),
  'system.aiConfig': () => client.system.aiConfig.query(),
  'auth.me': () => client.auth.me.query(),
  'aiMetrics.getSummary': () => client.aiMetrics.getSummary.query({ lastMinutes: 60 }),
  'aiMetrics.getRolloutStatus': () => client.aiMetrics.getRolloutStatus.query(),
  'aiMetrics.getModelBreakdown': () => client.aiMetrics.getModelBreakdown.query(),
  'aiMetrics.checkRolloutHealth': () => client.aiMetrics.checkRolloutHealth.query(),
  'chat.getConversations': () => client.chat.getConversations.query(),
  'chat.createConversation': () => client.chat.createConversation.mutate({ title: 'Hej' }),
  'emailIntelligence.getEmailCategory': () => client.emailIntelligence.getEmailCategory.query({ threadId: 't1' }),
  'emailIntelligence.getQuickReplies': () => client.emailIntelligence.getQuickReplies.query(mail),
  'emailIntelligence.getBatchIntelligence': () => client.emailIntelligence.getBatchIntelligence.query({ threadIds: ['t1'] }),
  'invoices.list': () => client.invoices.list.query(),
};

/** By procedure: answers of this server and of the old one, which marks its own, and what failed. */
window.seen = Object.fromEntries(Object.keys(calls).map((name) => [name, { ours: 0, theirs: 0, failed: [] }]));
const isTheirs = (answer) => JSON.stringify(answer ?? null).includes('the old server');
window.load = (loops) => {
  window.running = true;
  const loop = async () => {
    while (window.running) {
      await Promise.all(Object.entries(calls).map(async ([name, call]) => {
        const seen = window.seen[name];
        try {
          const answer = await call();
          seen[isTheirs(answer) ? 'theirs' : 'ours'] += 1;
        } catch (error) {
          seen.failed.push(`${error.message} ${error.data?.code}`);
        }
      }));
      window.rounds = (window.rounds ?? 0) + 1;
    }
  };
  window.ended = Promise.all(Array.from({ length: loops }, loop));
};
window.end = () => {
  window.running = false;
  return window.ended;
};
window.ready = true;
