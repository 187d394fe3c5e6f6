// A front end in Chromium, behind a TLS proxy that rewrites Host. Usage: node run.mjs PATH/TO/modelramp
//
// The world it stands for: browsers reach the server by HTTPS through a proxy that ends TLS and asks it under another
// name (nginx with a fixed Host, Vite's changeOrigin, a rewrite of a hosting service). The front end lies on the same
// origin, on another origin of the same site, or on another site. Each of its links calls, subscribes, loses its session
// while subscribed, logs out. The server restarts under it. All names lead to this machine; nothing else is asked.
import assert from 'node:assert/strict';
import { execFileSync, spawn } from 'node:child_process';
import fs from 'node:fs';
import http from 'node:http';
import https from 'node:https';
import net from 'node:net';
import os from 'node:os';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { build } from 'esbuild';
import { chromium } from 'playwright-core';

const binary = path.resolve(process.argv[2]);
const executablePath = process.env.CHROMIUM ?? '/usr/bin/chromium';
const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'modelramp-browser-'));
const here = import.meta.dirname;
const SUBSCRIPTION_END_MS = 5000;
// A busy machine may be slow to tell, but not to end.
const SLACK_MS = Number(process.env.SLACK_MS ?? 3000);

const freePort = () => new Promise((resolve) => {
  const probe = net.createServer().listen(0, '127.0.0.1', () => {
    const { port } = probe.address();
    probe.close(() => resolve(port));
  });
});
const until = async (what, ask, ms = 20_000) => {
  const end = Date.now() + ms;
  for (;;) {
    const value = await ask();
    if (value) return value;
    if (Date.now() > end) throw new Error(`never came within ${ms} ms: ${what}`);
    await sleep(50);
  }
};

// The server, as an operator runs it.
const port = await freePort();
const environment = (settings) => ({
  PATH: process.env.PATH, HOME: folder, APP_ENV: 'production', HOST: '127.0.0.1', PORT: `${port}`,
  DATABASE_URL: `sqlite://${folder}/browser.db`, JWT_SECRET: '0123456789abcdef0123456789abcdef',
  OPENROUTER_API_KEY: 'sk-test', OPENROUTER_BASE_URL: 'http://127.0.0.1:9/v1', LOG_LEVEL: 'warn', ...settings,
});
let server;
const start = async (settings) => {
  const log = fs.openSync(path.join(folder, 'server.log'), 'a');
  const child = spawn(binary, ['serve'], { cwd: folder, env: environment(settings), stdio: ['ignore', log, log] });
  await until('the server', async () => {
    assert.equal(child.exitCode, null, fs.readFileSync(path.join(folder, 'server.log'), 'utf8'));
    return fetch(`http://127.0.0.1:${port}/readyz`).then((r) => r.ok, () => false);
  });
  server = { child, settings };
};
const stop = async () => {
  if (!server) return;
  const gone = new Promise((resolve) => server.child.once('exit', resolve));
  server.child.kill('SIGTERM');
  await gone;
  server = undefined;
};
const command = (settings, ...args) =>
  execFileSync(binary, args, { cwd: folder, env: environment(settings), encoding: 'utf8' }).trim();

// The proxy: ends TLS, serves the front end at /front under every name, and passes on the rest under its own name.
execFileSync('openssl', ['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes', '-days', '2',
  '-keyout', `${folder}/key.pem`, '-out', `${folder}/cert.pem`, '-subj', '/CN=modelramp-test'], { stdio: 'ignore' });
const bundle = await build({ entryPoints: [path.join(here, 'front.js')], bundle: true, format: 'iife', write: false });
const script = bundle.outputFiles[0].text;
const answerTo = new Map([
  ['/front', ['text/html', '<!doctype html><title>front</title><script src="/front.js"></script>']],
  ['/front.js', ['text/javascript', script]],
]);
const passed = (request) => ({
  host: '127.0.0.1', port, method: request.method, path: request.url,
  headers: { ...request.headers, host: `127.0.0.1:${port}` },
});
const proxy = https.createServer(
  { key: fs.readFileSync(`${folder}/key.pem`), cert: fs.readFileSync(`${folder}/cert.pem`) },
  (request, response) => {
    const own = answerTo.get(request.url);
    if (own) return void response.writeHead(200, { 'content-type': own[0] }).end(own[1]);
    const inner = http.request(passed(request), (answer) => {
      response.writeHead(answer.statusCode, answer.rawHeaders);
      answer.pipe(response);
    });
    inner.on('error', () => { response.headersSent ? response.destroy() : response.writeHead(502).end(); });
    response.on('close', () => inner.destroy());
    request.pipe(inner);
  },
);
proxy.on('upgrade', (request, socket, head) => {
  const inner = http.request(passed(request));
  inner.on('upgrade', (answer, upstream, first) => {
    const lines = Object.entries(answer.headers).map(([name, value]) => `${name}: ${value}`);
    socket.write(['HTTP/1.1 101 Switching Protocols', ...lines, '', ''].join('\r\n'));
    upstream.write(head);
    socket.write(first);
    socket.pipe(upstream).pipe(socket);
    upstream.on('error', () => socket.destroy());
    socket.on('error', () => upstream.destroy());
  });
  inner.on('response', (answer) => socket.end(`HTTP/1.1 ${answer.statusCode} Refused\r\n\r\n`));
  inner.on('error', () => socket.destroy());
  inner.end();
});
const tls = await freePort();
await new Promise((resolve) => proxy.listen(tls, '127.0.0.1', resolve));

// Some builds refuse cookies of other sites unless their user allows them, as such an application asks its users to.
fs.mkdirSync(`${folder}/profile/Default`, { recursive: true });
fs.writeFileSync(`${folder}/profile/Default/Preferences`, JSON.stringify({ profile: { cookie_controls_mode: 0, block_third_party_cookies: false } }));
const browser = await chromium.launchPersistentContext(path.join(folder, 'profile'), {
  executablePath, headless: true, ignoreHTTPSErrors: true,
  args: ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking',
    '--disable-component-update', '--disable-sync', '--host-resolver-rules=MAP * 127.0.0.1'],
});

let checks = 0;
const check = async (name, run) => {
  try { await run(); } catch (error) {
    console.log(`FAIL ${name}: ${error.stack}`);
    throw error;
  }
  checks += 1;
  console.log(`ok   ${name}`);
};
const cookie = async (base) => (await browser.cookies(base)).find(({ name }) => name === 'app_session_id');

/** Whom a page shows as signed in: an admin is led on to the dashboard, whose side names the user. */
const signedIn = async (page) => {
  await page.waitForURL(/\/dashboard\/$/);
  await until('the name in the dashboard', async () => /Local user 1\u2069 · admin/.test(await page.textContent('body').catch(() => '')));
};

/** Opens a one-time link as a person does; resolves with the page once it says something final. */
const openLink = async (link) => {
  const page = await browser.newPage();
  await page.goto(link);
  // Opening it spends nothing: only the button does.
  await page.getByRole('button', { name: 'Sign in' }).click();
  await until('the word of the sign-in page', async () =>
    page.url().endsWith('/dashboard/') || !/^(|This link signs you in, once\.|Signing in…)$/.test(await page.textContent('#say', { timeout: 1000 }).catch(() => '')));
  return page;
};

const scene = async (name, { page: pageUrl, api, settings, kinds = ['batch', 'stream', 'ws'] }) => {
  // The command line always knows the address that browsers use; the server only where the scene says so.
  const link = (...more) => command({ ...settings, PUBLIC_URL: api }, 'token', '--login-link', '--user', '1', '--role', 'admin', ...more);
  await start(settings);
  const front = await browser.newPage();
  await front.goto(`${pageUrl}/front`);
  await until('the front end', () => front.evaluate(() => window.ready));
  const signIn = async () => {
    const page = await openLink(link());
    await signedIn(page);
    await page.close();
  };
  const me = (kind) => front.evaluate(([k, b]) => window.query(k, b, 'auth.me'), [kind, api]);
  const subscribe = (kind, of) => front.evaluate(([k, b, p]) => window.subscribe(k, b, p), [kind, api, of]);
  const seen = (index) => front.evaluate((i) => window.seen[i], index);

  await check(`${name}: nobody is signed in at first`, async () => {
    for (const kind of kinds) assert.deepEqual(await me(kind), { data: null });
  });
  await check(`${name}: a link signs in, once, and its cookie has flags that hold`, async () => {
    const address = link();
    const page = await openLink(address);
    await signedIn(page);
    assert.equal(new URL(page.url()).hash, '', 'the secret stays in the address');
    const { secure, httpOnly, sameSite, path: where } = await cookie(api);
    const expected = settings.SESSION_COOKIE_SAME_SITE === 'none' ? 'None' : 'Strict';
    assert.deepEqual({ secure, httpOnly, sameSite, where }, { secure: true, httpOnly: true, sameSite: expected, where: '/' });
    await page.close();
    const again = await openLink(address);
    assert.match(await again.textContent('#say'), /has run out or was used/);
    await again.close();
    for (const kind of kinds) {
      const answer = await me(kind);
      assert.equal(answer.data?.id, 1, `${kind} ${JSON.stringify(answer)}`);
    }
  });
  await check(`${name}: a mutation with the headers of tracing, and a refresh`, async () => {
    const made = await front.evaluate(([b]) => window.mutate('batch', b, 'chat.createConversation', {}), [api]);
    assert.ok(made.data?.id > 0, JSON.stringify(made));
    const before = await cookie(api);
    await sleep(1100);
    const refreshed = await front.evaluate(([b]) => window.post(`${b}/api/auth/refresh`), [api]);
    assert.equal(refreshed.data?.body.refreshed, true, JSON.stringify(refreshed));
    const after = await cookie(api);
    assert.ok(after.value !== before.value && after.expires > before.expires);
    assert.equal((await me('batch')).data?.id, 1);
  });
  for (const kind of kinds) {
    await check(`${name}, ${kind}: a subscription ends with the session that was revoked`, async () => {
      const index = await subscribe(kind, 'aiMetrics.onSummary');
      await until('events', async () => (await seen(index)).events >= 2);
      const revoked = Date.now();
      command(settings, 'sessions', 'revoke', '--user', '1');
      await until('the end', async () => (await seen(index)).ended, SUBSCRIPTION_END_MS + SLACK_MS);
      assert.equal((await seen(index)).ended, 'UNAUTHORIZED');
      console.log(`     after ${Date.now() - revoked} ms`);
      assert.deepEqual(await me('batch'), { data: null });
      await signIn();
      // A socket that was opened with the old session closes, and the next one has the new session.
      await until(`${kind} knows the new session`, async () => (await me(kind)).data?.id === 1);
    });
    await check(`${name}, ${kind}: logging out ends the session and the cookie is gone`, async () => {
      const { value } = await cookie(api);
      const out = await front.evaluate(([k, b]) => window.together(k, b,
        [['query', 'system.health', { timestamp: 1 }], ['mutate', 'auth.logout'], ['query', 'auth.me']]), [kind, api]);
      assert.deepEqual(out[1], { data: { success: true } });
      if (kind !== 'ws') assert.equal(await cookie(api), undefined);
      await until('signed out', async () => (await me(kind)).data === null);
      // Whoever has a copy of the cookie has nothing.
      const copy = await fetch(`http://127.0.0.1:${port}/api/trpc/auth.me`, { headers: { cookie: `app_session_id=${value}` } });
      assert.equal((await copy.json()).result.data.json, null);
      await signIn();
      await until(`${kind} knows the new session`, async () => (await me(kind)).data?.id === 1);
    });
  }
  await check(`${name}: a restart loses neither session nor subscription`, async () => {
    const index = await subscribe(kinds[0], 'aiMetrics.onSummary');
    await until('events', async () => (await seen(index)).events >= 1);
    await stop();
    await start(settings);
    const { events } = await seen(index);
    await until('events after the restart', async () => (await seen(index)).events > events, 60_000);
    assert.equal((await seen(index)).ended, null);
    assert.equal((await me('batch')).data?.id, 1);
  });
  await front.close();
  await browser.clearCookies();
  await stop();
};

const at = (host) => `https://${host}:${tls}`;
try {
  // Nothing is set: what the browser itself says of the origin has to do. Chromium does not say it of sockets.
  await scene('same origin, unset', { page: at('app.example.test'), api: at('app.example.test'), settings: {}, kinds: ['batch', 'stream'] });
  await scene('same origin', {
    page: at('app.example.test'), api: at('app.example.test'), settings: { PUBLIC_URL: at('app.example.test') },
  });
  await scene('same site', {
    page: at('app.example.test'), api: at('api.example.test'),
    settings: { PUBLIC_URL: at('api.example.test'), CORS_ALLOWED_ORIGINS: at('app.example.test') },
  });
  await scene('cross site', {
    page: at('front.other.test'), api: at('api.example.test'),
    settings: {
      PUBLIC_URL: at('api.example.test'), CORS_ALLOWED_ORIGINS: at('front.other.test'), SESSION_COOKIE_SAME_SITE: 'none',
    },
  });
  await check('a page of a site that is not listed can neither call nor sign in', async () => {
    const settings = { PUBLIC_URL: at('api.example.test'), SESSION_COOKIE_SAME_SITE: 'none' };
    await start(settings);
    const link = command(settings, 'token', '--login-link', '--user', '1');
    const front = await browser.newPage();
    await front.goto(`${at('evil.other.test')}/front`);
    const secret = link.split('#t=')[1];
    const tried = await front.evaluate(([url, token]) => window.post(url, { token }), [`${at('api.example.test')}/api/auth/login`, secret]);
    assert.ok(tried.error, JSON.stringify(tried));
    await front.close();
    // Nor did it use the link up; and the page leads to paths of this server only.
    const page = await openLink(link.replace('/login', '/login?next=https://evil.other.test/front'));
    assert.match(await page.textContent('#say'), /signed in/);
    assert.equal(new URL(page.url()).host, `api.example.test:${tls}`);
    await page.close();
    const led = await browser.newPage();
    await led.goto(command(settings, 'token', '--login-link', '--user', '1').replace('/login', '/login?next=/healthz'));
    await led.getByRole('button', { name: 'Sign in' }).click();
    await led.waitForURL(`${at('api.example.test')}/healthz`);
    await led.close();
  });
  console.log(`${checks} passed, 0 failed`);
} finally {
  await browser.close();
  await stop();
  proxy.close();
  proxy.closeAllConnections();
  fs.rmSync(folder, { recursive: true, force: true });
}
