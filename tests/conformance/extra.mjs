// Checks of the procedures `test.*`, which only a test build has (TEST_PROCEDURES=1): superjson
// inputs, resuming, aborts that provably stop the work, forms and binary bodies, limits, cookies.
import * as c11 from '@trpc/client';
import { EventSource } from 'eventsource';
import WebSocket from 'ws';
import { assert, auth, base, check, clientErr, env, eq, errShape, http, httpErr, isObj, qs, rejects, skip, sleep, tf, timeout, TIMEOUT, transformer, unwrap, useSuper, wire, WS_URL } from './lib.mjs';
import { msg, raw } from './ws.mjs';

const J = { 'content-type': 'application/json' };
const test = (name, fn) => check(name, () => (env.TEST_PROCEDURES === '1' ? fn() : skip('TEST_PROCEDURES not set')));
const client = (link, opts = {}) => c11.createTRPCClient({ links: [link({ url: base, transformer, headers: auth, ...opts })] });
const sse = (fetcher = fetch) => client(c11.httpSubscriptionLink, { headers: undefined, EventSource, eventSourceOptions: async () => ({ fetch: fetcher }) });
/** runs fn with a v11 client over a socket of its own */
const overWs = async (fn, opts = {}) => {
  if (!WS_URL) skip('WS_URL not set');
  const ws = c11.createWSClient({ url: WS_URL, WebSocket, retryDelayMs: () => 20, ...opts });
  try { return await fn(c11.createTRPCClient({ links: [c11.wsLink({ client: ws, transformer })] }), ws); } finally { await timeout(ws.close(), 3000).catch(() => {}); }
};
const links = { httpLink: c11.httpLink, httpBatchLink: c11.httpBatchLink, httpBatchStreamLink: c11.httpBatchStreamLink };

// ---- superjson in and out ----
const everything = () => ({ at: new Date('2026-01-02T03:04:05.678Z'), big: 9007199254740993n, number: NaN, tags: new Set(['a', 'b']), byName: new Map([['x.y', new Date(1)], ['z', new Date(2)]]), maybe: undefined });
function sameEverything(a) {
  const b = everything();
  assert(a.at instanceof Date, 'at is a Date'); eq(a.at.toISOString(), b.at.toISOString(), 'at');
  assert(a.big === b.big, `big ${typeof a.big} ${a.big}`); assert(Number.isNaN(a.number), `number ${a.number}`);
  assert(a.tags instanceof Set, 'tags is a Set'); eq([...a.tags], [...b.tags], 'tags');
  assert(a.byName instanceof Map, 'byName is a Map'); eq([...a.byName].map(([k, v]) => [k, v.getTime()]), [...b.byName].map(([k, v]) => [k, v.getTime()]), 'byName');
  assert('maybe' in a && a.maybe === undefined, `maybe ${a.maybe}`);
}
for (const [name, link] of Object.entries(links))
  test(`superjson: Date, bigint, NaN, Set, Map, undefined go there and back over ${name}`, async () => {
    if (!useSuper) skip('TRANSFORMER=none');
    const c = client(link);
    (await Promise.all([c.test.echo.query(everything()), c.test.echo.query(everything())])).forEach(sameEverything);
  });
test('superjson: Date, bigint, NaN, Set, Map, undefined go there and back over wsLink', async () => {
  if (!useSuper) skip('TRANSFORMER=none');
  await overWs(async (c) => sameEverything(await c.test.echo.query(everything())));
});
for (const n of [Infinity, -Infinity, -0, 1.5])
  test(`superjson: ${Object.is(n, -0) ? '-0' : n} keeps its value`, async () => {
    if (!useSuper) skip('TRANSFORMER=none');
    const r = await client(c11.httpLink).test.echo.query({ ...everything(), number: n }); assert(Object.is(r.number, n), `got ${r.number}`);
  });
for (const [what, bad] of [['an invalid Date', { at: new Date(NaN) }], ['a number for a Date', { at: 5 }], ['a text for a bigint', { big: 'x' }], ['a list for a Map', { byName: [1] }]])
  test(`superjson: ${what} is BAD_REQUEST that names the field`, async () => {
    if (!useSuper) skip('TRANSFORMER=none');
    const e = await rejects(client(c11.httpLink).test.echo.query({ ...everything(), ...bad })); clientErr(e, 'BAD_REQUEST', 'test.echo');
    assert(e.message.includes(Object.keys(bad)[0]), `message ${e.message}`);
  });
test('an undefined output is undefined on every wire', async () => {
  for (const link of Object.values(links)) assert((await client(link).test.nothing.query()) === undefined, 'undefined');
  await overWs(async (c) => assert((await c.test.nothing.query()) === undefined, 'undefined over ws'));
});

// ---- subscriptions: framing, end, resuming ----
const collect = (c, path, input, { stopAt, onEach } = {}) => new Promise((resolve, reject) => {
  const log = { events: [], ids: [], complete: false };
  const t = setTimeout(() => { sub.unsubscribe(); reject(new Error(`subscription timed out: ${JSON.stringify(log)}`)); }, TIMEOUT);
  const done = () => { clearTimeout(t); setTimeout(() => { sub.unsubscribe(); resolve(log); }, 0); };
  const sub = path.split('.').reduce((n, k) => n[k], c).subscribe(input, {
    onData: (d) => { log.events.push(d); if (isObj(d) && 'id' in d) log.ids.push(d.id); onEach?.(log); if (log.events.length === stopAt) done(); },
    onError: (e) => { log.error = e; done(); }, onComplete: () => { log.complete = true; done(); },
  });
});
const upTo = (n) => Array.from({ length: n }, (_, i) => String(i + 1));
function counted(log, n) {
  assert(!log.error, log.error?.message); eq(log.ids, upTo(n), 'ids'); eq(log.events.map((e) => e.data.n), upTo(n).map(Number), 'numbers');
  if (useSuper) assert(log.events.every((e) => e.data.at instanceof Date), 'dates inside tracked events');
}
test('sse: a tracked subscription ends with `return`', async () => { const log = await collect(sse(), 'test.onCount', { to: 3 }); counted(log, 3); assert(log.complete, 'complete'); });
test('ws: a tracked subscription ends with `stopped`', () => overWs(async (c) => { const log = await collect(c, 'test.onCount', { to: 3 }); counted(log, 3); assert(log.complete, 'complete'); }));
test('sse: a lost connection is resumed without a gap', async () => {
  let lost = 0;
  // breaks off the first two responses after some events, as a network does
  const flaky = async (url, init) => {
    const res = await fetch(url, init); if (lost >= 2) return res;
    const reader = res.body.getReader(); let chunks = 0;
    const body = new ReadableStream({ async pull(c) { const { done, value } = await reader.read(); if (done) return c.close(); if (++chunks > 4) { lost++; reader.cancel(); return c.error(new TypeError('network down')); } c.enqueue(value); }, cancel: (r) => reader.cancel(r) });
    const copy = new Response(body, { status: res.status, headers: res.headers }); Object.defineProperty(copy, 'url', { value: res.url }); return copy;
  };
  const log = await collect(sse(flaky), 'test.onCount', { to: 12 }); counted(log, 12); eq(lost, 2, 'times lost');
});
test('ws: a lost socket is resumed without a gap', () => overWs(async (c, ws) => {
  let lost = 0;
  const log = await collect(c, 'test.onCount', { to: 12 }, { onEach: (l) => { if (l.events.length === 4 || l.events.length === 8) { lost++; ws.connection.ws.terminate(); } } });
  counted(log, 12); eq(lost, 2, 'times lost');
}));
/** the first events of a stream as text */
async function events(path, headers = {}, enough = (t) => t.includes('\nid: ')) {
  const ac = new AbortController(); let text = '';
  try { const res = await fetch(base + path, { headers, signal: ac.signal }); const d = new TextDecoder(); for await (const c of res.body) { text += d.decode(c, { stream: true }); if (enough(text)) break; } } finally { ac.abort(); }
  return text;
}
for (const [how, path, headers] of [['header', '', { 'last-event-id': '41' }], ['query', '?lastEventId=41', {}], ['input', `?${qs(wire({ lastEventId: '41' }))}`, {}], ['header before input', `?${qs(wire({ lastEventId: '7' }))}`, { 'last-event-id': '41' }]])
  test(`sse: the last event id is taken from the ${how}`, async () => assert(/\nid: 42\n/.test(await events(`/test.onCount${path}`, headers)), 'first id is 42'));
test('sse: connected tells the client when to reconnect; pings are named events with a data line', async () => {
  const text = await events('/test.onCount?' + qs(wire({ to: 1 })), {}, () => false);
  const options = JSON.parse(/^event: connected\ndata: (.*)\n\n/.exec(text)[1]); assert(options.reconnectAfterInactivityMs > 0, 'reconnectAfterInactivityMs');
  assert(text.endsWith('event: return\ndata: \n\n'), `end ${JSON.stringify(text.slice(-60))}`);
  const silent = await events('/aiMetrics.onSummary', auth, (t) => t.includes('event: ping') || t.length > 4000); assert(!silent.includes('\n:'), 'no comments');
});
test('sse: a fault after events is a serialized-error, and the end', async () => {
  for (const [path, code] of [['onFault', 'BAD_REQUEST'], ['onPanic', 'INTERNAL_SERVER_ERROR']]) {
    const text = await events(`/test.${path}`, {}, () => false); eq(text.match(/^data: .*\d.*$/gm).length, 4, 'connected, two events, error');
    const e = tf.deserialize(JSON.parse(/event: serialized-error\ndata: (.*)\n\n$/.exec(text)[1])); errShape(e, code, `test.${path}`); assert(e.data.requestId, 'requestId'); assert(!/secret/.test(e.message), 'no details');
  }
});
test('ws: a fault after events is an error and then stopped', () => raw(async ({ send, next }) => {
  for (const [path, code] of [['onFault', 'BAD_REQUEST'], ['onPanic', 'INTERNAL_SERVER_ERROR']]) {
    send(msg(5, 'subscription', `test.${path}`));
    const seen = []; do seen.push(await next()); while (seen.at(-1).result?.type !== 'stopped');
    eq(seen.map((m) => m.result?.type ?? 'error'), ['started', 'data', 'data', 'error', 'stopped'], 'frames'); errShape(unwrap(seen[3]).error, code, `test.${path}`);
  }
}));
test('ws: tracked frames carry the id outside and inside', () => raw(async ({ send, next }) => {
  send({ id: 5, method: 'subscription', params: { path: 'test.onCount', input: wire({}), lastEventId: '9' } });
  await next((m) => m.result?.type === 'started'); const m = await next(); eq(m.result.id, '10', 'result.id'); const d = unwrap(m).data; eq([d.id, d.data.n], ['10', 10], 'data');
}));
test('ws: a set-up fault is an error alone', () => raw(async ({ send, next, q }) => {
  send(msg(5, 'subscription', 'test.onCount', { lastEventId: 'x' })); errShape(unwrap(await next()).error, 'BAD_REQUEST', 'test.onCount');
  send(msg(6, 'query', 'test.counts')); eq((await next()).id, 6, 'nothing between'); eq(q.length, 0, 'rest');
}));
test('ws: PONG comes after stopped', () => raw(async ({ ws, next }) => {
  ws.send(JSON.stringify(msg(5, 'subscription', 'test.onCount', {}))); await next((m) => m.result?.type === 'started');
  ws.send(JSON.stringify({ id: 5, method: 'subscription.stop' })); ws.send('PING');
  const seen = []; do seen.push(await next()); while (seen.at(-1) !== 'PONG'); eq(seen.at(-2).result.type, 'stopped', 'before PONG');
}));
test('ws: the server pings with protocol frames, never with text', () => raw(async ({ ws, q }) => {
  let texts = 0; ws.on('message', (d) => { if (d.toString() === 'PING') texts++; });
  await timeout(new Promise((r) => ws.once('ping', r)), 5000, 'ping frame'); eq([texts, q.length], [0, 0], 'text frames');
}));
test('ws: binary frames are PARSE_ERROR', () => raw(async ({ ws, next }) => { ws.send(Buffer.from('{}'), { binary: true }); const m = await next(); eq(m.id, null, 'id'); errShape(unwrap(m).error, 'PARSE_ERROR'); }));
test('ws: bad or missing ids are PARSE_ERROR, also inside arrays', () => raw(async ({ send, next }) => {
  const good = msg(1, 'query', 'test.counts');
  for (const bad of [{ ...good, id: undefined }, { ...good, id: null }, { ...good, id: {} }, [good, { ...good, id: true }], [5], 'null']) { send(bad); const m = await next(); eq(m.id, null, 'id'); errShape(unwrap(m).error, 'PARSE_ERROR'); }
}));
test('ws: a path with a trailing slash is a socket, too', () => raw(async ({ send, next }) => { send(msg(1, 'query', 'test.counts')); eq((await next()).id, 1, 'id'); }, { url: WS_URL + '/' }));

// ---- connectionParams in place of headers ----
test('sse: connectionParams sign in where headers cannot', async () => {
  const c = client(c11.httpSubscriptionLink, { headers: undefined, EventSource, connectionParams: { authorization: auth.Authorization } });
  const log = await collect(c, 'aiMetrics.onSummary', undefined, { stopAt: 1 }); assert(!log.error, log.error?.message);
});
test('ws: connectionParams sign in where headers cannot', () => overWs(async (c) => { assert(isObj(await c.aiMetrics.getSummary.query()), 'summary'); }, { connectionParams: async () => ({ authorization: auth.Authorization }) }));
test('connectionParams that are no object of strings are PARSE_ERROR', async () => {
  for (const p of ['{bad', '[]', '{"a":1}']) httpErr(await http(`/test.counts?connectionParams=${encodeURIComponent(p)}`), 'PARSE_ERROR', null);
});

// ---- leaving stops the work ----
const counts = () => client(c11.httpLink).test.counts.query();
async function until(what, pred) { const end = Date.now() + 5000; let c; do { c = await counts(); if (pred(c)) return c; await sleep(10); } while (Date.now() < end); throw new Error(`${what}: ${JSON.stringify(c)}`); }
for (const [name, link] of Object.entries(links))
  test(`abort: a query that the client gives up over ${name} stops running`, async () => {
    const before = (await counts()).running; const ac = new AbortController();
    const calls = [1, 2].map(() => client(link).test.hang.query(undefined, { signal: ac.signal })); calls.forEach((c) => c.catch(() => {}));
    await until('started', (c) => c.running === before + 2); ac.abort(); await until('stopped', (c) => c.running === before);
    for (const c of calls) eq((await rejects(c)).name, 'TRPCClientError', 'rejected');
  });
test('abort: leaving an event stream drops its producer', async () => {
  const before = (await counts()).running;
  for (let i = 0; i < 3; i++) { await collect(sse(), 'test.onCount', {}, { stopAt: 2 }); await until('dropped', (c) => c.running === before); }
});
test('abort: subscription.stop drops the producer', () => raw(async ({ send, next }) => {
  const before = (await counts()).running; send(msg(5, 'subscription', 'test.onCount', {})); await next((m) => m.result?.type === 'data');
  eq((await counts()).running, before + 1, 'running'); send({ id: 5, method: 'subscription.stop' }); await next((m) => m.result?.type === 'stopped'); await until('dropped', (c) => c.running === before);
}));
test('abort: losing the socket stops its queries and subscriptions', async () => {
  const before = (await counts()).running;
  await raw(async ({ send }) => { send(msg(1, 'subscription', 'test.onCount', {})); send(msg(2, 'query', 'test.hang')); await until('started', (c) => c.running === before + 2); });
  await until('stopped', (c) => c.running === before);
});
test('abort: mutations finish when the client leaves', async () => {
  const before = await counts(); const ac = new AbortController();
  const left = client(c11.httpLink).test.finish.mutate(undefined, { signal: ac.signal }); left.catch(() => {});
  await until('started', (c) => c.running === before.running + 1); ac.abort();
  await raw(async ({ send }) => { send(msg(1, 'mutation', 'test.finish')); await until('started', (c) => c.running === before.running + 2); });
  await until('finished', (c) => c.finished === before.finished + 2 && c.running === before.running);
});

// ---- bodies that are not JSON ----
test('form: fields and files reach a procedure that takes forms', async () => {
  const form = new FormData(); form.append('name', 'Første'); form.append('name', 'again'); form.append('file', new File(['hello'], 'h.txt', { type: 'text/plain' }));
  eq(await client(c11.httpLink).test.upload.mutate(form), [{ name: 'name', fileName: null, size: 7 }, { name: 'name', fileName: null, size: 5 }, { name: 'file', fileName: 'h.txt', size: 5 }], 'fields');
});
test('binary: Uint8Array, Blob and File reach a procedure that takes them', async () => {
  const c = client(c11.httpLink);
  for (const body of [new Uint8Array([0, 255, 1]), new Blob(['abc']), new File(['abc'], 'a.bin')]) eq(await c.test.binary.mutate(body), 3, 'length');
});
test('form and binary bodies are 415 elsewhere, and JSON is 415 for them', async () => {
  const c = client(c11.httpLink); const form = new FormData(); form.append('a', '1');
  for (const p of [c.aiMetrics.logSummary.mutate(form), c.aiMetrics.logSummary.mutate(new Blob(['x'])), c.test.upload.mutate({ a: 1 }), c.test.binary.mutate({ a: 1 }), c.test.upload.mutate(new Blob(['x']))]) clientErr(await rejects(p), 'UNSUPPORTED_MEDIA_TYPE');
});
test('form: a malformed body is 400, a GET is 405', async () => {
  httpErr(await http('/test.upload', { method: 'POST', headers: { 'content-type': 'multipart/form-data; boundary=x' }, body: 'nonsense' }), 'BAD_REQUEST', 'test.upload');
  httpErr(await http('/test.upload', { method: 'POST', headers: { 'content-type': 'multipart/form-data' }, body: 'nonsense' }), 'BAD_REQUEST', 'test.upload');
  const r = await http('/test.upload', { headers: { 'content-type': 'multipart/form-data' } }); httpErr(r, 'METHOD_NOT_SUPPORTED'); eq(r.headers.get('allow'), 'POST', 'allow');
});
test('a form or a binary body that is too large is 413', async () => {
  if (!env.MAX_BODY) skip('MAX_BODY not set');
  const big = 'x'.repeat(Number(env.MAX_BODY) + 1); const form = new FormData(); form.append('a', big); const c = client(c11.httpLink);
  clientErr(await rejects(c.test.upload.mutate(form)), 'PAYLOAD_TOO_LARGE', 'test.upload'); clientErr(await rejects(c.test.binary.mutate(new Blob([big]))), 'PAYLOAD_TOO_LARGE', 'test.binary');
});

// ---- limits, parameters, cookies, origins, faults ----
test('batch: one call more than the limit is refused as a whole', async () => {
  if (!env.BATCH_LIMIT) skip('BATCH_LIMIT not set');
  const n = Number(env.BATCH_LIMIT); const get = (k) => http('/' + Array(k).fill('test.counts').join(',') + '?batch=1');
  eq((await get(n)).json.length, n, 'at the limit'); const r = await get(n + 1);
  assert(!Array.isArray(r.json), 'one envelope'); httpErr(r, 'BAD_REQUEST', null); eq(unwrap(r.json).error.message, 'Batch call exceeds maximum size', 'message');
  await raw(async ({ send, next }) => { send(Array.from({ length: n + 1 }, (_, i) => msg(i, 'query', 'test.counts'))); for (let i = 0; i <= n; i++) { const m = await next(); eq(m.id, i, 'id'); errShape(unwrap(m).error, 'BAD_REQUEST', 'test.counts'); } });
});
test('jsonl: answers come in the order of completion', async () => {
  const r = await http(`/test.wait,test.wait?batch=1&${qs({ 0: wire({ ms: 150 }), 1: wire({ ms: 1 }) })}`, { headers: { 'trpc-accept': 'application/jsonl' } });
  const lines = r.text.trim().split('\n').map((l) => tf.deserialize(JSON.parse(l))); eq(lines.slice(1).map((l) => l[0]), [1, 0], 'chunks');
});
test('jsonl: a call that is slower than the keep-alive is answered', async () => {
  eq(await Promise.all([700, 1].map((ms) => client(c11.httpBatchStreamLink).test.wait.query({ ms }))), [700, 1], 'answers');
});
test('batch: calls run at the same time', async () => {
  const t0 = Date.now(); const r = await http('/' + Array(20).fill('test.wait').join(',') + `?batch=1&${qs(Object.fromEntries(Array.from({ length: 20 }, (_, i) => [i, wire({ ms: 100 })])))}`);
  eq(r.status, 200, 'status'); assert(Date.now() - t0 < 1000, `took ${Date.now() - t0} ms`);
});
test('plain query parameters are an input', async () => {
  eq(unwrap((await http('/test.wait?ms=30&other=1')).json).data, 30, 'ms');
  eq(unwrap((await http(`/test.wait?ms=30&${qs(wire({ ms: 5 }))}`)).json).data, 5, 'input wins');
  for (const bad of ['soon', '0', '']) httpErr(await http(`/aiMetrics.getSummary?lastMinutes=${bad}`), 'BAD_REQUEST', 'aiMetrics.getSummary');
});
test('cookies that a call sets are on the response, also of a batch', async () => {
  for (const path of ['/test.setCookie', '/test.setCookie,test.setCookie?batch=1']) {
    const r = await http(path, { method: 'POST', headers: J, body: '{}' }); eq(r.status, 200, 'status');
    eq(r.headers.getSetCookie().slice(0, 2), ['a=1; Path=/; HttpOnly', 'b=2; Path=/'], 'set-cookie');
  }
});
test('a POST that brings a cookie from a foreign origin is 403', async () => {
  const post = (headers) => http('/aiMetrics.logSummary', { method: 'POST', headers: { ...J, ...headers }, body: '{}' });
  httpErr403(await post({ cookie: 'a=1', origin: 'https://evil.example' }));
  for (const ok of [{ cookie: 'a=1' }, { origin: 'https://evil.example' }, { cookie: 'a=1', origin: new URL(base).origin }, ...(env.CORS_ORIGIN ? [{ cookie: 'a=1', origin: env.CORS_ORIGIN }] : [])]) eq((await post(ok)).status, 200, JSON.stringify(ok));
});
function httpErr403(r) { eq(r.status, 403, 'status'); const e = unwrap(r.json).error; eq([e.code, e.data.code], [-32003, 'FORBIDDEN'], 'code'); }
test('a socket from a foreign origin is 403', async () => {
  if (!WS_URL) skip('WS_URL not set');
  const open = (origin) => new Promise((r) => { const ws = new WebSocket(WS_URL, { headers: { ...auth, origin } }); ws.on('open', () => { ws.terminate(); r(101); }); ws.on('unexpected-response', (_, res) => { res.resume(); r(res.statusCode); }); ws.on('error', () => {}); });
  eq(await open('https://evil.example'), 403, 'foreign'); eq(await open(new URL(base).origin), 101, 'own');
});
test('a slash, an upgrade elsewhere and odd methods still get envelopes', async () => {
  httpErr(await http('/a/b/c'), 'NOT_FOUND', 'a/b/c'); httpErr(await http('/test.counts/'), 'NOT_FOUND', 'test.counts/'); httpErr(await http(''), 'NOT_FOUND', '');
  httpErr(await http('/test.counts', { method: 'PUT' }), 'UNSUPPORTED_MEDIA_TYPE', null);
});
test('a panic is an internal error without details, on every wire, and the server lives on', async () => {
  const bad = (e) => { errShape(e, 'INTERNAL_SERVER_ERROR', undefined); assert(!/secret/.test(JSON.stringify(e)), 'no details'); assert(e.data.requestId, 'requestId'); };
  bad(unwrap((await http('/test.panic')).json).error); bad(unwrap((await http('/test.panicDetached', { method: 'POST', headers: J })).json).error);
  const r = await http('/test.panic,test.counts?batch=1'); eq(r.status, 207, 'status'); bad(unwrap(r.json[0]).error); assert(unwrap(r.json[1]).ok, 'its neighbour');
  await raw(async ({ send, next }) => { send(msg(1, 'query', 'test.panic')); bad(unwrap(await next()).error); send(msg(2, 'mutation', 'test.panicDetached')); bad(unwrap(await next()).error); });
});
test('every error of a batch has a request id of its own', async () => {
  const r = await http('/no.a,no.b,test.panic?batch=1'); const ids = r.json.map((e) => unwrap(e).error.data.requestId);
  assert(ids.every((i) => typeof i === 'string' && i.length > 8) && new Set(ids).size === 3, `ids ${ids}`);
});
test('a request line of 60 KiB is read', async () => {
  const r = await http(`/test.counts?pad=${'x'.repeat(60 * 1024)}`); eq(r.status, 200, 'status');
});
test('texts are the reference server\'s, the missing quote included', async () => {
  const message = async (path, init) => { const r = await http(path, init); return [r.status, Array.isArray(r.json), unwrap(Array.isArray(r.json) ? r.json[0] : r.json).error.message]; };
  for (const [path, init, ...expected] of [
    ['/test.counts', { method: 'POST', headers: { 'content-type': 'text/plain' }, body: '{}' }, 415, false, 'Unsupported content-type "text/plain'],
    ['/test.counts', { method: 'PUT' }, 415, false, 'Missing content-type header'],
    ['/test.counts', { method: 'PUT', headers: J }, 405, false, 'Unsupported PUT-request to query procedure at path "test.counts"'],
    ['/test.finish', {}, 405, false, 'Unsupported GET-request to mutation procedure at path "test.finish"'],
    ['/test.finish,test.finish?batch=1', {}, 405, true, 'Unsupported GET-request to mutation procedure at path "test.finish"'],
    ['/test.counts,test.finish?batch=1', {}, 400, false, 'Cannot mix procedure types in call: query, mutation'],
    ['/test.onCount?batch=1', {}, 400, true, 'Cannot batch subscription calls'],
    ['/test.counts,test.counts', {}, 404, false, 'No procedure found on path "test.counts,test.counts"'],
    ['/', {}, 404, false, 'No procedure found on path ""'],
    ['/test.counts?batch=1&input=5', {}, 400, true, '"input" needs to be an object when doing a batch call'],
    ['/test.counts', { headers: { accept: 'application/jsonl' } }, 400, false, 'Streaming requests must be batched (you can do a batch of 1)'],
  ]) eq(await message(path, init), expected, `${init.method ?? 'GET'} ${path}`);
});
