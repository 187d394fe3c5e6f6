// Does with a program that counts what it runs (`-C profile-generate`) what users do most, so that the compiler knows what to make
// fast: scripts/release calls it. What is not done here is made small. Each part is done for its counts, not for its time.
// Needs nothing but Node. Usage: run.mjs PROGRAM FOLDER [REQUESTS]: the counts come into FOLDER, as *.profraw.
import assert from 'node:assert/strict';
import { execFile, spawn } from 'node:child_process';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import http from 'node:http';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { promisify } from 'node:util';

const [name, folder, requests = '4000'] = process.argv.slice(2);
const program = resolve(name);
const N = Number(requests);
const AT_ONCE = 16;
const work = await mkdtemp(join(tmpdir(), 'modelramp-profile-'));
const agent = new http.Agent({ keepAlive: true, maxSockets: AT_ONCE, noDelay: true });
// Without the settings of whoever builds: nothing of the shell's but the paths, and no `.env` (`cwd` below).
const { PATH, HOME } = process.env;
const environment = { PATH, HOME, LLVM_PROFILE_FILE: resolve(folder, '%p.profraw') };

/** A model's server: a whole answer, a call of a tool, or a stream of twenty words. */
const usage = { prompt_tokens: 25, completion_tokens: 20, total_tokens: 45 };
const call = { index: 0, id: 'call_1', type: 'function', function: { name: 'weather', arguments: '{"city":"Aarhus"}' } };
const model = http.createServer(async (request, response) => {
  let asked = '';
  for await (const piece of request.setEncoding('utf8')) asked += piece;
  if (request.method === 'GET') return response.end(JSON.stringify({ object: 'list', data: ['old', 'new'].map((id) => ({ id, object: 'model' })) }));
  const head = { id: 'chatcmpl-1', created: 1764500000, model: 'mock', system_fingerprint: 'fp_1' };
  const tool = asked.includes('"tools"');
  if (!asked.includes('"stream":true')) {
    const message = tool ? { role: 'assistant', content: null, tool_calls: [call] } : { role: 'assistant', content: 'Twenty words. '.repeat(10), refusal: null };
    const choice = { index: 0, message, logprobs: null, finish_reason: tool ? 'tool_calls' : 'stop' };
    response.setHeader('content-type', 'application/json');
    return response.end(JSON.stringify({ ...head, object: 'chat.completion', choices: [choice], usage }));
  }
  response.setHeader('content-type', 'text/event-stream');
  const send = (delta, finish_reason = null) => response.write(`data: ${JSON.stringify({ ...head, object: 'chat.completion.chunk', choices: [{ index: 0, delta, finish_reason }] })}\n\n`);
  send({ role: 'assistant', content: '' });
  if (tool) send({ tool_calls: [call] });
  else for (let n = 0; n < 20; n += 1) send({ content: ' word' });
  send({}, tool ? 'tool_calls' : 'stop');
  response.end(`data: ${JSON.stringify({ ...head, object: 'chat.completion.chunk', choices: [], usage })}\n\ndata: [DONE]\n\n`);
});
const port = await new Promise((done) => { model.listen(0, '127.0.0.1', () => done(model.address().port)); });

await writeFile(join(work, 'catalog.toml'), `
[providers.local]
base_url = "http://127.0.0.1:${port}/v1"
[models.old]
provider = "local"
id = "old"
context = 200000
[models.new]
provider = "local"
id = "new"
context = 200000
[tasks.chat]
candidate = ["new", "old"]
control = ["old", "new"]
`);
await writeFile(join(work, 'plan.toml'), 'name = "profile"\ntasks = ["chat"]\ndeadline = "30days"\n[[stages]]\nshare = 50\nsoak = "1day"\n');
Object.assign(environment, {
  APP_ENV: 'test', DATABASE_URL: `sqlite://${work}/profile.db`, MODEL_CATALOGUE: join(work, 'catalog.toml'), MODEL_ROUTING: 'true', PORT: '0',
});

/** What a command of the program prints. */
const command = async (...words) => (await promisify(execFile)(program, words, { cwd: work, env: environment, maxBuffer: 1 << 24 })).stdout.trim();

/** Starts the server: where it listens, and how it is stopped. */
async function serve() {
  const server = spawn(program, ['serve'], { cwd: work, env: environment, stdio: ['ignore', 'pipe', 'pipe'] });
  const ended = new Promise((done) => { server.on('exit', done); });
  let log = '';
  server.stderr.setEncoding('utf8').on('data', (text) => { log = (log + text).slice(-4000); });
  const url = await new Promise((done, fail) => {
    ended.then(() => fail(new Error(`the server ended: ${log}`)));
    server.stdout.setEncoding('utf8').on('data', (text) => {
      const found = text.match(/http:\/\/127\.0\.0\.1:\d+/);
      if (found) done(found[0]);
    });
  });
  return { url, stop: async () => { server.kill('SIGTERM'); assert.equal(await ended, 0, log); } };
}

/** Asks once; the body is read to its end. */
function ask(url, headers, body, expected = [200]) {
  return new Promise((done, fail) => {
    const options = { method: body ? 'POST' : 'GET', agent, headers: { 'content-type': 'application/json', ...headers } };
    const request = http.request(url, options, (response) => {
      let text = '';
      response.setEncoding('utf8').on('data', (piece) => { text += piece; }).on('error', fail).on('end', () => {
        if (expected.includes(response.statusCode)) done(text);
        else fail(new Error(`${url}: ${response.statusCode} ${text.slice(0, 300)}`));
      });
    });
    request.on('error', fail).end(body);
  });
}

/** Does it so many times, some at once. */
async function times(count, what, atOnce = AT_ONCE) {
  let next = 0;
  const one = async () => { while (next < count) { next += 1; await what(next); } };
  await Promise.all(Array.from({ length: atOnce }, one));
}

const text = (bytes) => [{ role: 'user', content: 'Hvad er klokken? '.repeat(Math.ceil(bytes / 17)) }];
const parameters = { type: 'object', properties: { city: { type: 'string' } } };
const chat = (bytes, more) => ['/v1/chat/completions', { model: 'task/chat', messages: text(bytes), ...more }];
const messages = (more) => ['/v1/messages', { model: 'task/chat', max_tokens: 100, messages: text(50), ...more }];
const tools = [{ type: 'function', function: { name: 'weather', description: 'Tells the weather', parameters } }];
const own = [{ name: 'weather', description: 'Tells the weather', input_schema: parameters }];
const asked = [
  [N, chat(50)], [N / 2, chat(50, { stream: true })], [N / 4, chat(4000)], [N / 40, chat(400_000)],
  [N / 8, chat(500, { tools })], [N / 8, chat(500, { tools, stream: true })],
  [N / 8, messages()], [N / 8, messages({ stream: true })], [N / 16, messages({ tools: own })], [N / 16, messages({ tools: own, stream: true })],
  [N / 16, ['/v1/responses', { model: 'task/chat', input: 'Hej' }]], [N / 16, ['/v1/responses', { model: 'task/chat', input: 'Hej', stream: true }]],
];

let server = await serve();
try {
  const token = await command('token', '--user', '1', '--role', 'admin');
  const key = (await command('key', 'create', '--name', 'profile')).split('\n').at(-1);
  environment.MODELRAMP_TOKEN = token;
  await command('rollout', '--url', server.url, 'start', join(work, 'plan.toml'), '--reason', 'profile');

  for (const [count, [path, body]] of asked) {
    const json = JSON.stringify(body);
    const one = (n) => ask(server.url + path, { authorization: `Bearer ${key}`, 'x-modelramp-subject': `user-${n % 1000}` }, json);
    await times(count, one);
    await times(count / 4, one, 1);
  }
  // After many of them it says to come later.
  await times(N / 8, () => ask(`${server.url}/v1/chat/completions`, { authorization: 'Bearer mr_none' }, '{}', [401, 429]));

  const session = { authorization: `Bearer ${token}` };
  const summary = 'aiMetrics.getSummary';
  await times(N, () => ask(`${server.url}/api/trpc/${summary}?input=${encodeURIComponent('{"json":{"lastMinutes":60}}')}`, session));
  await times(N / 8, () => ask(`${server.url}/api/trpc/${Array(10).fill(summary).join()}?batch=1&input=%7B%7D`, session));
  await times(N / 4, (id) => ask(`${server.url}/rpc`, session, JSON.stringify({ jsonrpc: '2.0', id, method: summary, params: {} })));
  await times(N / 16, () => ask(`${server.url}/metrics`, session));
} finally {
  await server.stop();
}
// A start reads the events of before.
server = await serve();
await server.stop();
// What a rollout's evidence computes, in a world of its own.
if (N >= 1000) await command('simulate', 'certify', '--seed', '1', '--only', 'G15');

agent.destroy();
model.close();
await rm(work, { recursive: true });
console.log(`driven: ${N} requests of the first kind`);
