// Asks the same of the old server directly and through modelramp: node run.mjs <modelramp> <old server> <token>
// First byte for byte, over plain HTTP; then with the real clients, with calls of both servers mixed.
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import http from 'node:http';
import * as c11 from '@trpc/client';
import { EventSource } from 'eventsource';
import superjson from 'superjson';
import * as c10 from 'trpc10';
import { WebSocket } from 'ws';

const [through, direct, token] = process.argv.slice(2);
const TRPC = '/api/trpc';
const json = { 'content-type': 'application/json' };
const wrap = (value) => encodeURIComponent(JSON.stringify(superjson.serialize(value)));
const batch = (...values) =>
  encodeURIComponent(JSON.stringify(Object.fromEntries(values.map((v, n) => [n, superjson.serialize(v)]))));

function ask(base, path, { method = 'GET', headers = {}, body } = {}) {
  return new Promise((resolve, reject) => {
    const { hostname, port } = new URL(base);
    const request = http.request({ hostname, port, path, method, headers, agent: false }, (response) => {
      const parts = [];
      response.on('data', (part) => parts.push(part));
      response.on('error', reject);
      response.on('end', () =>
        resolve({ status: response.statusCode, headers: response.headers, body: Buffer.concat(parts) }),
      );
    });
    request.on('error', reject);
    request.end(body);
  });
}

// Between two neighbours, of the moment, or CORS, for which modelramp answers (`vary` says more for it).
const OWN = ['access-control-allow-credentials', 'access-control-expose-headers', 'date', 'connection', 'keep-alive', 'transfer-encoding', 'content-length', 'vary'];

function comparable({ status, headers, body }) {
  const kept = Object.entries(headers).filter(([name]) => !OWN.includes(name));
  const vary = (headers.vary ?? '').split(/, */).filter((name) => name !== 'origin').join(', ');
  return { status, headers: Object.fromEntries(kept), vary, body: body.toString('latin1') };
}

const checks = [];
const check = (name, run) => checks.push([name, run]);

function same(name, path, options) {
  check(`the same: ${name}`, async () => {
    const [expected, found] = [await ask(direct, path, options), await ask(through, path, options)];
    assert.deepEqual(comparable(found), comparable(expected));
    return found;
  });
}

const form = (() => {
  const boundary = 'x-boundary';
  const head = `--${boundary}\r\ncontent-disposition: form-data; name="name"\r\n\r\nname\r\n--${boundary}\r\ncontent-disposition: form-data; name="file"; filename="a.bin"\r\ncontent-type: application/octet-stream\r\n\r\n`;
  const body = Buffer.concat([Buffer.from(head), randomBytes(3_000_000), Buffer.from(`\r\n--${boundary}--\r\n`)]);
  return { method: 'POST', headers: { 'content-type': `multipart/form-data; boundary=${boundary}` }, body };
})();

same('a query', `${TRPC}/old.echo?input=${wrap({ a: 1, d: new Date(5), u: undefined })}`);
same('a query without input', `${TRPC}/old.nothing`);
same('a failed query', `${TRPC}/old.fail?input=${wrap({ code: 'FORBIDDEN' })}`);
same('an odd query string', `${TRPC}/old.echo?x=a+b&input=${wrap('%2e%2e/ü+')}&input=2&&`);
same('a procedure that neither has', `${TRPC}/old.none?input=1`);
same('a namespace', `${TRPC}/old`);
same('no path', `${TRPC}/`);
same('a wrong method', `${TRPC}/old.write`);
same('another wrong method', `${TRPC}/old.echo`, { method: 'PUT', headers: json, body: '{}' });
same('HEAD', `${TRPC}/old.echo`, { method: 'HEAD' });
same('a mutation', `${TRPC}/old.write`, { method: 'POST', headers: json, body: JSON.stringify(superjson.serialize({ a: [1] })) });
same('a query by POST', `${TRPC}/old.echo`, { method: 'POST', headers: json, body: JSON.stringify({ json: 1 }) });
same('a body that is no JSON', `${TRPC}/old.echo`, { method: 'POST', headers: json, body: '{' });
same('a media type that tRPC refuses', `${TRPC}/old.echo`, { method: 'POST', headers: { 'content-type': 'text/plain' }, body: 'x' });
same('cookies that are set', `${TRPC}/old.signIn`, { method: 'POST', headers: json, body: '{"json":null}' });
same('a batch', `${TRPC}/old.echo,old.nothing?batch=1&input=${batch(1, undefined)}`);
same('a batch of one', `${TRPC}/old.echo?batch=1&input=${batch(1)}`);
same('a batch of two statuses', `${TRPC}/old.echo,old.fail,old.none?batch=1&input=${batch(1, {})}`);
same('a batch with commas encoded', `${TRPC}/old.echo%2Cold.nothing?batch=1&input=${batch(1, undefined)}`);
same('a batch of mutations', `${TRPC}/old.write,old.signIn?batch=1`, { method: 'POST', headers: json, body: '{"0":{"json":"a"},"1":{"json":"b"}}' });
same('a batch whose input is no object', `${TRPC}/old.echo,old.echo?batch=1&input=5`);
same('a streamed batch', `${TRPC}/old.echo,old.fail,old.count?batch=1&input=${batch(1, {}, { to: 3 })}`, { headers: { 'trpc-accept': 'application/jsonl' } });
same('a stream that is no batch', `${TRPC}/old.echo`, { headers: { 'trpc-accept': 'application/jsonl' } });
same('an event stream', `${TRPC}/old.ticks?input=${wrap({ to: 3 })}`, { headers: { accept: 'text/event-stream' } });
same('an event stream that goes on', `${TRPC}/old.ticks?input=${wrap({ to: 5 })}`, { headers: { accept: 'text/event-stream', 'last-event-id': '3' } });
same('an event stream that fails', `${TRPC}/old.broken`, { headers: { accept: 'text/event-stream' } });
same('a form', `${TRPC}/old.form`, form);
same('bytes', `${TRPC}/old.bytes`, { method: 'POST', headers: { 'content-type': 'application/octet-stream' }, body: randomBytes(2_000_000) });
same('an upload to a plain path', '/api/files/upload', { method: 'POST', body: randomBytes(5_000_000) });
same('a compressed answer', '/api/files/zipped', { headers: { 'accept-encoding': 'gzip' } });
same('a redirect', '/api/files/away');
same('a path with escapes', '/api/files/a%20b/%C3%BC,c?x=%2F&y');
for (const method of ['PUT', 'PATCH', 'DELETE', 'HEAD']) {
  same(`a plain ${method}`, '/api/files/x', { method });
}

check('an answer that is cut is cut', async () => {
  await assert.rejects(ask(direct, '/api/files/half'));
  await assert.rejects(ask(through, '/api/files/half'));
});

check('what is not mounted is not passed on', async () => {
  for (const path of ['/secret', '/api/filesystem', '//secret', '/api/files/../../secret', '/api/files/%2e%2e/%2e%2e/secret', '/api/files/..%2f..%2fsecret', '/api/files/..%5c..%5csecret', '/api/files/%252e%252e/secret', `${TRPC}/..%2f..%2fsecret`, `${TRPC}/../../secret`]) {
    const { status, body } = await ask(through, path);
    assert.ok([400, 404].includes(status), `${path}: ${status}`);
    assert.notEqual(body.toString(), 'secret', path);
  }
});

check('headers go on as they should', async () => {
  const headers = {
    cookie: 'a=1; app_session_id=x.y.z; b="q"',
    authorization: 'Bearer x.y.z',
    connection: 'x-between, close',
    'x-between': '1',
    'x-kept': 'kept',
    te: 'trailers',
    'x-forwarded-for': '1.2.3.4',
    'accept-encoding': 'gzip',
  };
  const { body } = await ask(through, '/api/files/cookies?a=b', { headers });
  const { headers: seen, url } = JSON.parse(body);
  assert.equal(url, '/api/files/cookies?a=b');
  assert.equal(seen.cookie, 'a=1; b="q"');
  assert.equal(seen.host, new URL(direct).host);
  assert.equal(seen['x-forwarded-host'], new URL(through).host);
  assert.equal(seen['x-forwarded-for'], '1.2.3.4, 127.0.0.1');
  assert.equal(seen['x-forwarded-proto'], 'http');
  assert.equal(seen['x-kept'], 'kept');
  assert.equal(seen['accept-encoding'], 'gzip');
  for (const name of ['authorization', 'x-between', 'te']) assert.equal(seen[name], undefined, name);
});

// The parts of a mixed batch, each as its own server writes it alone.
async function joined(names, { delivery, method = 'GET' } = {}) {
  const inputs = Object.fromEntries(names.map((_, n) => [n, superjson.serialize({ n })]));
  const list = names.join(',');
  const query = method === 'GET' ? `&input=${encodeURIComponent(JSON.stringify(inputs))}` : '';
  const options = { method, headers: { ...json, ...delivery }, body: method === 'GET' ? undefined : JSON.stringify(inputs) };
  return ask(through, `${TRPC}/${list}?batch=1${query}`, options);
}

async function alone(name, n, method = 'GET') {
  const base = name.startsWith('old.') ? direct : through;
  const input = superjson.serialize({ n });
  const answer =
    method === 'GET'
      ? await ask(base, `${TRPC}/${name}?input=${encodeURIComponent(JSON.stringify(input))}`)
      : await ask(base, `${TRPC}/${name}`, { method, headers: json, body: JSON.stringify(input) });
  return { status: answer.status, text: answer.body.toString() };
}

const settled = (text) => text.replace(/"requestId":"[^"]*"/g, '"requestId":""').replace(/"(timestamp|uptime)":[^,}]*/g, '"$1":0');

const MIXES = [
  ['old.echo', 'auth.me'],
  ['auth.me', 'old.echo'],
  ['auth.me', 'old.echo', 'auth.me', 'old.nothing', 'old.fail', 'chat.getConversations'],
  ['old.echo', 'old.echo', 'none.such', 'auth.me', 'old.none'],
  ['system.none', 'chat.getConversations', 'auth.me'],
  [...Array(60).keys()].map((n) => (n % 7 === 3 ? 'old.echo' : 'auth.me')),
  [...Array(60).keys()].map((n) => (n % 7 === 3 ? 'auth.me' : 'old.echo')),
];
for (const method of ['GET', 'POST']) {
  for (const names of MIXES) {
    check(`a mixed batch by ${method}: ${names.slice(0, 6)}`, async () => {
      const found = await joined(names, { method });
      const expected = [];
      for (const [n, name] of names.entries()) expected.push(await alone(name, n, method));
      assert.equal(settled(found.body.toString()), settled(`[${expected.map((it) => it.text).join(',')}]`));
      const statuses = new Set(expected.map((it) => it.status));
      assert.equal(found.status, statuses.size === 1 ? [...statuses][0] : 207);
    });
  }
}

// Any mix in any order; a seed, so that a failure can be had again.
check('mixed batches of any shape', async () => {
  let seed = 7;
  const random = (below) => (seed = (seed * 48271) % 2147483647) % below;
  const names = ['old.echo', 'old.nothing', 'old.fail', 'old.none', 'none.such', 'auth.me', 'chat.getConversations', 'system.aiConfig', 'models.list', 'old', ''];
  for (let round = 0; round < 40; round++) {
    const mix = Array.from({ length: 1 + random(12) }, () => names[random(names.length)]);
    const [method, n] = [random(2) ? 'GET' : 'POST', mix.length];
    if (n === 1 && mix[0] === '') continue;
    const found = await joined(mix, { method });
    const parts = JSON.parse(found.body);
    assert.equal(parts.length, n, `${mix}`);
    for (const [at, name] of mix.entries()) {
      const it = name === '' ? { text: JSON.stringify(parts[at]) } : await alone(name, at, method);
      const expected = JSON.parse(settled(it.text));
      // Names in a text that is asked of the other server are its own.
      assert.deepEqual(JSON.parse(settled(JSON.stringify(parts[at]))), expected, `${mix} at ${at}`);
    }
  }
});

check('cookies of the old server come with a mixed batch', async () => {
  for (const delivery of [{}, { 'trpc-batch-mode': 'stream' }]) {
    const { headers } = await joined(['auth.logout', 'old.signIn'], { method: 'POST', delivery });
    const cookies = headers['set-cookie'].join('\n');
    assert.match(cookies, /theirs=1; Path=\/; HttpOnly/);
    assert.match(cookies, /more=2; Path=\//);
    assert.match(cookies, /app_session_id=;/);
  }
});

const url = `${through}${TRPC}`;
const authorization = { authorization: `Bearer ${token}` };
const links = {
  'httpBatchLink 11': () => c11.createTRPCClient({ links: [c11.httpBatchLink({ url, transformer: superjson, headers: authorization })] }),
  'httpBatchLink 11 by POST': () => c11.createTRPCClient({ links: [c11.httpBatchLink({ url, transformer: superjson, methodOverride: 'POST' })] }),
  'httpLink 11': () => c11.createTRPCClient({ links: [c11.httpLink({ url, transformer: superjson })] }),
  'httpBatchStreamLink 11': () => c11.createTRPCClient({ links: [c11.httpBatchStreamLink({ url, transformer: superjson, headers: authorization })] }),
  'httpBatchLink 10': () => c10.createTRPCProxyClient({ transformer: superjson, links: [c10.httpBatchLink({ url })] }),
  'batch stream 10': () => c10.createTRPCProxyClient({ transformer: superjson, links: [c10.unstable_httpBatchStreamLink({ url })] }),
};
const expectedEcho = (echo) => ({ echo, at: new Date(0), big: 10n, list: new Set([1, 2]) });

async function works(client, { alone = true } = {}) {
  const answers = await Promise.allSettled([
    client.old.echo.query({ d: new Date(7), u: undefined }),
    client.auth.me.query(),
    client.old.nothing.query(),
    client.old.fail.query({ code: 'NOT_FOUND' }),
    client.none.such.query(),
    client.system.aiConfig.query(),
  ]);
  assert.deepEqual(answers[0].value, expectedEcho({ d: new Date(7), u: undefined }));
  assert.equal(answers[1].status, 'fulfilled');
  assert.equal(answers[2].value, undefined);
  assert.equal(answers[3].reason.data.code, 'NOT_FOUND');
  assert.equal(answers[3].reason.data.path, 'old.fail');
  assert.equal(answers[4].reason.data.path, 'none.such');
  assert.equal(answers[5].status, 'fulfilled');
  // The old server does not know the form of version 10's stream, here as without modelramp.
  if (alone) assert.deepEqual(await client.old.write.mutate(5), { wrote: 5, at: new Date(1000) });
}

for (const [name, make] of Object.entries(links)) {
  check(name, () => works(make(), { alone: name !== 'batch stream 10' }));
}

check('a stream is joined, each answer as it comes', async () => {
  const client = links['httpBatchStreamLink 11']();
  const order = [];
  const note = (name) => (value) => (order.push(name), value);
  const never = new AbortController();
  const [counted] = await Promise.all([
    client.old.count.query({ to: 3 }).then(note('count')),
    client.old.slow.query({ ms: 600 }).then(note('slow')),
    client.auth.me.query().then(note('me')),
    client.old.echo.query(1).then(note('echo')),
  ]);
  assert.equal(order.at(-1), 'slow');
  const values = [];
  for await (const value of counted) values.push(value);
  assert.deepEqual(values, [0, 1, 2].map((n) => ({ n, at: new Date(n) })));
  never.abort();
});

function subscribed(client, path, input, until) {
  return new Promise((resolve, reject) => {
    const events = [];
    const done = () => (subscription.unsubscribe(), resolve(events));
    const subscription = path(client).subscribe(input, {
      onData: (data) => (events.push(data), until?.(events) && done()),
      onError: (error) => resolve([...events, error]),
      onComplete: () => resolve(events),
    });
    setTimeout(() => reject(new Error(`only ${JSON.stringify(events)}`)), 20_000).unref();
  });
}
const tick = (n) => ({ id: String(n), data: { n, at: new Date(n) } });
const ticks = (client) => client.old.ticks;

check('event streams', async () => {
  const client = c11.createTRPCClient({ links: [c11.httpSubscriptionLink({ url, transformer: superjson, EventSource })] });
  assert.deepEqual(await subscribed(client, ticks, { to: 3 }), [tick(1), tick(2), tick(3)]);
  assert.deepEqual(await subscribed(client, ticks, { to: 4, lastEventId: '2' }), [tick(3), tick(4)]);
  const [first, error] = await subscribed(client, (it) => it.old.broken, undefined);
  assert.deepEqual([first, error.data.code], [1, 'FORBIDDEN']);
});

function socket(version, options = {}) {
  const ws = version.createWSClient({ url: url.replace('http', 'ws'), WebSocket, ...options });
  return { ws, link: version.wsLink({ client: ws, transformer: superjson }) };
}

check('sockets of version 11, with both kinds on one', async () => {
  const seen = [];
  class Counted extends WebSocket {
    constructor(...args) {
      super(...args);
      seen.push(args[0]);
    }
  }
  const { ws, link } = socket(c11, { WebSocket: Counted, connectionParams: () => ({ Authorization: `Bearer ${token}`, theirs: 'kept' }) });
  const client = c11.createTRPCClient({ links: [link] });
  await works(client);
  assert.deepEqual(await client.old.params.query(), { theirs: 'kept' });
  const both = await Promise.all([
    subscribed(client, ticks, { to: 3 }),
    subscribed(client, ticks, { to: 2, stay: true }, (events) => events.length === 2),
    subscribed(client, (it) => it.aiMetrics.onSummary, { lastMinutes: 5 }, (events) => events.length === 1),
  ]);
  assert.deepEqual(both[0], [tick(1), tick(2), tick(3)]);
  assert.equal(both[2].length, 1);
  const [first, error] = await subscribed(client, (it) => it.old.broken, undefined);
  assert.deepEqual([first, error.data.code], [1, 'FORBIDDEN']);
  assert.equal(seen.length, 1);
  await ws.close();
});

check('sockets of version 10', async () => {
  const { ws, link } = socket(c10);
  const client = c10.createTRPCProxyClient({ transformer: superjson, links: [link] });
  await works(client);
  const events = await subscribed(client, ticks, { to: 3 });
  assert.deepEqual(events, [tick(1), tick(2), tick(3)]);
  ws.close();
});

// Raw frames: ids as they were sent, one answer each.
check('ids of a socket stay the client\'s', async () => {
  const ws = new WebSocket(url.replace('http', 'ws'));
  const frames = [];
  await new Promise((resolve, reject) => ws.on('open', resolve).on('error', reject));
  const ask = (id, path, method = 'query', more = {}) => ({ id, method, params: { path, input: { json: null }, ...more } });
  ws.send(JSON.stringify([ask(1, 'old.echo'), ask('1', 'auth.me'), { ...ask(2, 'old.none'), jsonrpc: '2.0' }, ask(9, 'old.ticks', 'subscription'), ask(9, 'old.ticks', 'subscription'), ask(9, 'auth.me')]));
  await new Promise((resolve) => {
    ws.on('message', (text) => {
      const frame = JSON.parse(text);
      frames.push(frame);
      if (frame.result?.type === 'stopped') setTimeout(resolve, 300);
    });
  });
  const of = (id) => frames.filter((frame) => frame.id === id);
  assert.equal(of(1).length, 1);
  assert.equal(of('1').length, 1);
  assert.equal(of(2)[0].jsonrpc, '2.0');
  assert.equal(of(2)[0].error.json.data.code, 'NOT_FOUND');
  const types = of(9).map((frame) => frame.result?.type ?? frame.error.json.message);
  assert.ok(types.includes('Duplicate id 9'), types);
  assert.equal(types.filter((type) => type === 'started').length, 1);
  ws.send(JSON.stringify(ask(10, 'old.ticks', 'subscription', { input: { json: { to: 1, stay: true } } })));
  await new Promise((resolve) => ws.on('message', (text) => String(text).includes('"data"') && resolve()));
  const stopped = new Promise((resolve) => ws.on('message', (text) => String(text).includes('stopped') && resolve(JSON.parse(text))));
  ws.send('{"id":10,"method":"subscription.stop"}');
  assert.deepEqual(await stopped, { id: 10, result: { type: 'stopped' } });
  ws.close();
});

check('forms and bytes of the real client', async () => {
  const client = c11.createTRPCClient({ links: [c11.httpLink({ url, transformer: { serialize: (v) => v, deserialize: superjson.deserialize } })] });
  const data = new FormData();
  data.set('name', 'n');
  data.set('file', new File([randomBytes(100_000)], 'f.bin'));
  const answer = await client.old.form.mutate(data);
  assert.deepEqual([answer.name, answer.file, answer.bytes], ['n', 'f.bin', 100_000]);
  assert.equal((await client.old.bytes.mutate(new Blob([randomBytes(1000)]))).bytes, 1000);
});

let failed = 0;
for (const [name, run] of checks) {
  try {
    await Promise.race([
      run(),
      new Promise((_, reject) => setTimeout(() => reject(new Error('takes too long')), 30_000).unref()),
    ]);
  } catch (error) {
    failed += 1;
    console.log(`FAILED ${name}\n  ${String(error.stack ?? error).slice(0, 1500)}`);
  }
}
console.log(`${checks.length - failed} of ${checks.length} checks passed`);
process.exit(failed ? 1 : 0);
