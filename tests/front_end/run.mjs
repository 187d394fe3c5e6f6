// A front end as the TypeScript server had it: chat.sendMessage alone over httpLink, aborted by one shared
// controller; everything else batched; superjson; credentials. Usage: node run.mjs BASE COOKIE
import assert from 'node:assert/strict';
import { createTRPCClient, httpBatchLink, httpLink, splitLink, TRPCClientError } from '@trpc/client';
import superjson from 'superjson';

const [base, cookie] = process.argv.slice(2);
const url = `${base}/api/trpc`;
const requests = [];
// A browser would send the cookie by itself; `credentials` is passed on as the application sets it.
const fetchWith = (headers) => (input, init) => {
  requests.push(`${init?.method ?? 'GET'} ${new URL(input).pathname.split('/').at(-1)}`);
  return fetch(input, { ...init, credentials: 'include', headers: { ...init?.headers, ...headers } });
};
const make = (headers) => {
  const options = { url, transformer: superjson, fetch: fetchWith(headers) };
  return createTRPCClient({
    links: [splitLink({
      condition: (op) => op.type === 'mutation' && op.path === 'chat.sendMessage',
      true: httpLink(options),
      false: httpBatchLink(options),
    })],
  });
};
const client = make({ cookie });
const until = async (what, ask) => {
  for (let i = 0; i < 100; i += 1) {
    if (await ask()) return;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  throw new Error(`never came: ${what}`);
};
let passed = 0;
const check = async (name, run) => {
  await run();
  passed += 1;
  console.log(`ok   ${name}`);
};

await check('who am I, and nobody without a cookie', async () => {
  assert.equal((await client.auth.me.query()).openId, 'user-1');
  assert.equal(await make({}).auth.me.query(), null);
});
await check('the text that sends people to the login page', async () => {
  const error = await make({}).chat.getConversations.query().catch((e) => e);
  assert.ok(error instanceof TRPCClientError);
  assert.equal(error.message, 'Please login (10001)');
  assert.equal(error.data.httpStatus, 401);
});
let conversationId;
await check('a conversation, a message and its answer', async () => {
  conversationId = (await client.chat.createConversation.mutate({ title: 'Hello' })).id;
  const sent = await client.chat.sendMessage.mutate({ conversationId, content: 'Hej', context: { page: undefined } });
  assert.equal(sent.role, 'user');
  const page = await client.chat.getMessages.query({ conversationId });
  assert.deepEqual(page.messages.map((m) => m.role), ['user', 'assistant']);
  assert.ok('nextCursor' in page && page.nextCursor === undefined);
});
await check('queries of one tick share a request; sendMessage goes alone', async () => {
  requests.length = 0;
  await Promise.all([client.auth.me.query(), client.chat.getConversations.query(), client.aiMetrics.getRolloutStatus.query()]);
  assert.deepEqual(requests, ['GET auth.me,chat.getConversations,aiMetrics.getRolloutStatus']);
});
await check('an aborted send is answered all the same', async () => {
  const abort = new AbortController();
  const sending = client.chat.sendMessage.mutate({ conversationId, content: 'slow' }, { signal: abort.signal });
  setTimeout(() => abort.abort(), 50);
  await assert.rejects(sending, TRPCClientError);
  await until('the answer to the aborted message', async () => {
    const { messages } = await client.chat.getMessages.query({ conversationId });
    return messages.length === 4 && messages[3].role === 'assistant';
  });
});
await check('the eleventh send within a minute says when to come back', async () => {
  let error;
  for (let i = 0; i < 12 && !error; i += 1) {
    await client.chat.sendMessage.mutate({ conversationId, content: `${i}` }).catch((e) => { error = e; });
  }
  assert.match(error.message, /rate limit exceeded/i);
  assert.equal(error.data.code, 'RATE_LIMIT_EXCEEDED');
  assert.ok(new Date(error.data.retryAfter) > new Date());
});
await check('pages of an infinite query, whose input has a direction', async () => {
  const first = await client.chat.getMessages.query({ conversationId, limit: 3, direction: 'forward' });
  assert.equal(first.nextCursor, 3);
  const next = await client.chat.getMessages.query({ conversationId, limit: 3, cursor: first.nextCursor, direction: 'forward' });
  assert.ok(next.messages[0].id > first.messages.at(-1).id);
});
await check('logging out clears the cookie', async () => {
  const response = await fetch(`${url}/auth.logout`, { method: 'POST', headers: { cookie, 'content-type': 'application/json' } });
  assert.match(response.headers.get('set-cookie'), /^app_session_id=;/);
});
console.log(`${passed} passed, 0 failed`);
