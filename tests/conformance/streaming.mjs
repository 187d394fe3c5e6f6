// Checks of chatStreaming.* over every wire that the clients have (STREAMING=1: models answer, and the flags are on).
import * as c11 from '@trpc/client';
import * as c10 from 'trpc10';
import { EventSource } from 'eventsource';
import WebSocket from 'ws';
import { assert, auth, base, check, clientErr, env, eq, rejects, skip, timeout, TIMEOUT, transformer, WS_URL } from './lib.mjs';

const v11 = (link, more = {}) => c11.createTRPCClient({ links: [link({ url: base, transformer, headers: auth, ...more })] });
const v10 = (link) => c10.createTRPCProxyClient({ transformer, links: [link({ url: base, headers: auth })] });
const Socket = class extends WebSocket { constructor(u, p) { super(u, p, { headers: auth }); } };
const overSocket = (version, fn) => async () => {
  if (!WS_URL) skip('WS_URL not set');
  const socket = version.createWSClient({ url: WS_URL, WebSocket: Socket });
  const links = version === c11 ? [c11.wsLink({ client: socket, transformer })] : [c10.wsLink({ client: socket })];
  const client = version === c11 ? c11.createTRPCClient({ links }) : c10.createTRPCProxyClient({ transformer, links });
  try { return await fn(client); } finally { socket.close(); }
};
const overEvents = (fn) => () => fn(c11.createTRPCClient({ links: [c11.splitLink({
  condition: (op) => op.type === 'subscription',
  true: c11.httpSubscriptionLink({ url: base, transformer, EventSource, eventSourceOptions: async () => ({ fetch: (u, i) => fetch(u, { ...i, headers: { ...i.headers, ...auth } }) }) }),
  false: c11.httpBatchLink({ url: base, transformer, headers: auth }),
})] }));
const calling = {
  'v11 httpLink': (fn) => () => fn(v11(c11.httpLink)),
  'v11 httpBatchStreamLink (JSONL)': (fn) => () => fn(v11(c11.httpBatchStreamLink)),
  'v10 httpBatchLink': (fn) => () => fn(v10(c10.httpBatchLink)),
  ...(env.V10_STREAM === '1' ? { 'v10 unstable_httpBatchStreamLink': (fn) => () => fn(v10(c10.unstable_httpBatchStreamLink)) } : {}),
  'v11 wsLink': (fn) => overSocket(c11, fn),
  'v10 wsLink': (fn) => overSocket(c10, fn),
};
const telling = { 'v11 httpSubscriptionLink': overEvents, 'v11 wsLink': (fn) => overSocket(c11, fn), 'v10 wsLink': (fn) => overSocket(c10, fn) };

/** all that a subscription tells until it is over */
const told = (client, input) => timeout(new Promise((resolve, reject) => {
  const events = [];
  const end = (data) => data.type === 'complete' || data.type === 'error';
  const sub = client.chatStreaming.sendMessageStream.subscribe(input, {
    onData: (data) => { events.push(data); if (end(data)) setTimeout(() => { sub.unsubscribe(); resolve(events); }, 0); },
    onError: reject,
  });
}), TIMEOUT, 'the stream');
const conversation = async (client) => (await client.chat.createConversation.mutate({})).id;
const stored = async (client, conversationId) => (await client.chat.getMessages.query({ conversationId })).messages;

for (const [name, over] of Object.entries(calling)) {
  check(`chatStreaming ${name}: flags`, over(async (client) => {
    const flags = await client.chatStreaming.getFeatureFlags.query();
    eq([flags.enableStreaming, flags.useServerSideChat, flags.enableAuditTrail], [true, true, true], 'flags');
    eq(typeof flags.openRouterRolloutPercentage, 'number', 'percentage');
  }));
  check(`chatStreaming ${name}: sendMessageStreaming brings the answer, which is stored`, over(async (client) => {
    const conversationId = await conversation(client);
    const sent = await client.chatStreaming.sendMessageStreaming.mutate({ conversationId, content: `over ${name}`, context: { folder: 'inbox', openDrafts: 2, calendarEvents: [{}] } });
    eq(sent.success, true, 'success'); eq(sent.response.pendingAction, null, 'pendingAction');
    assert(sent.response.content.endsWith(`You asked: over ${name}`), sent.response.content);
    eq(sent.response.usage.totalTokens, sent.response.usage.promptTokens + sent.response.usage.completionTokens, 'usage');
    eq((await stored(client, conversationId)).map((m) => m.content), [`over ${name}`, sent.response.content], 'stored');
  }));
}
for (const [name, over] of Object.entries(telling)) {
  check(`chatStreaming ${name}: sendMessageStream tells the answer word by word, which is stored`, over(async (client) => {
    const conversationId = await conversation(client);
    const events = await told(client, { conversationId, content: `over ${name}`, context: { hasEmails: true } });
    const [start, ...rest] = events, complete = rest.pop();
    eq([start.type, start.data.message], ['start', 'Starting response...'], 'start');
    eq([complete.type, complete.data.message], ['complete', 'Response complete'], 'complete');
    assert(rest.length > 5 && rest.every((e) => e.type === 'chunk'), `chunks ${rest.length}`);
    const answer = rest.map((e) => e.data.content).join('');
    const messages = await stored(client, conversationId);
    eq(messages.map((m) => [m.id, m.role, m.content]), [[start.data.messageId, 'user', `over ${name}`], [complete.data.messageId, 'assistant', answer]], 'stored');
    eq(await client.chat.rateMessage.mutate({ messageId: complete.data.messageId, verdict: 'good' }), { success: true }, 'rated');
  }));
  check(`chatStreaming ${name}: what is wrong with the message is an error`, over(async (client) => {
    clientErr(await rejects(told(client, { conversationId: 999999, content: 'x' })), 'NOT_FOUND', 'chatStreaming.sendMessageStream');
    clientErr(await rejects(told(client, { conversationId: 1, content: ' ' })), 'BAD_REQUEST', 'chatStreaming.sendMessageStream');
  }));
}
