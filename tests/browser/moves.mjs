// A front end of the original, unchanged, in Chromium, against modelramp with the old server behind it; and each
// procedure of both moved over and back while it works. Usage: node moves.mjs PATH/TO/modelramp OLD_SERVER_FOLDER [each]
//
// The world: pages, cookies and calls of one origin; a session that both servers know by one secret; some tabs that ask
// for all they show, again and again, batched. Without `each` namespaces move, which is shorter.
import assert from 'node:assert/strict';
import { execFileSync, spawn } from 'node:child_process';
import fs from 'node:fs';
import net from 'node:net';
import os from 'node:os';
import path from 'node:path';
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';
import { build } from 'esbuild';
import { chromium } from 'playwright-core';

const [program, oldFolder, which] = process.argv.slice(2);
const binary = path.resolve(program);
const executablePath = process.env.CHROMIUM ?? '/usr/bin/chromium';
const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'modelramp-moves-'));
const SECRET = '0123456789abcdef0123456789abcdef';
const TABS = 2;

const until = async (what, ask, ms = 60_000) => {
  const end = Date.now() + ms;
  for (;;) {
    const value = await ask();
    if (value) return value;
    if (Date.now() > end) throw new Error(`never came within ${ms} ms: ${what}`);
    await sleep(30);
  }
};
const port = await new Promise((resolve) => {
  const probe = net.createServer().listen(0, '127.0.0.1', () => {
    const found = probe.address().port;
    probe.close(() => resolve(found));
  });
});
const children = [];
let browser;
try {
  const script = `${folder}/app.js`;
  await build({ entryPoints: [path.join(import.meta.dirname, 'original.js')], bundle: true, format: 'iife', outfile: script });
  const old = spawn('node', ['server.mjs'], {
    cwd: oldFolder, env: { ...process.env, FRONT_END: script, JWT_SECRET: SECRET }, stdio: ['pipe', 'pipe', 'inherit'],
  });
  children.push(old);
  const [oldUrl] = await new Promise((resolve) => createInterface(old.stdout).once('line', (line) => resolve([line])));
  const environment = {
    PATH: process.env.PATH, HOME: folder, APP_ENV: 'development', HOST: '127.0.0.1', PORT: `${port}`,
    DATABASE_URL: `sqlite://${folder}/moves.db`, JWT_SECRET: SECRET, LOG_LEVEL: 'warn',
    OPENROUTER_API_KEY: 'sk-test', OPENROUTER_BASE_URL: 'http://127.0.0.1:9/v1',
    LEGACY_TRPC_URL: `${oldUrl}/api/trpc`, LEGACY_PATHS: '/app', LEGACY_PROCEDURES: '*', LEGACY_FORWARD_SESSION: 'true',
    // Both answer by marks of their own here; what differs is not what this is about.
    LEGACY_TOLERATED_DIFFERENCES: '100', CSRF_TOKEN: 'required',
  };
  const command = (...args) => execFileSync(binary, args, { cwd: folder, env: environment, encoding: 'utf8' }).trim();
  const log = fs.openSync(`${folder}/server.log`, 'a');
  const server = spawn(binary, ['serve'], { cwd: folder, env: environment, stdio: ['ignore', log, log] });
  children.push(server);
  const base = `http://127.0.0.1:${port}`;
  await until('the server', async () => {
    assert.equal(server.exitCode, null, fs.readFileSync(`${folder}/server.log`, 'utf8'));
    return fetch(`${base}/readyz`).then((r) => r.ok, () => false);
  });
  const admin = command('token', '--user', '1', '--role', 'admin');
  const set = async (name, mode, percent) => {
    const params = { name, mode, reason: 'a test', ...(percent && { percent }) };
    const answer = await fetch(`${base}/rpc?side=native`, {
      method: 'POST', headers: { 'content-type': 'application/json', authorization: `Bearer ${admin}` },
      body: JSON.stringify({ jsonrpc: '2.0', id: 1, method: 'migration.set', params }),
    }).then((r) => r.json());
    assert.ok(answer.result, JSON.stringify(answer));
  };

  browser = await chromium.launch({ executablePath, headless: true, args: ['--no-sandbox', '--disable-gpu'] });
  const pages = [];
  for (let user = 1; user <= TABS; user += 1) {
    // Users on both sides of a share.
    const context = await browser.newContext();
    const token = command('token', '--user', `${user}`, '--role', 'admin');
    await context.addCookies([{ name: 'app_session_id', value: token, url: base }]);
    const page = await context.newPage();
    await page.goto(`${base}/app`);
    await until('the front end', () => page.evaluate(() => window.ready));
    assert.equal(await page.evaluate(() => document.title), 'the original');
    await page.evaluate(() => window.load(2));
    pages.push(page);
  }
  const seen = async () => Promise.all(pages.map((page) => page.evaluate(() => [window.seen, window.rounds ?? 0])));
  const names = Object.keys((await seen())[0][0]);
  const rounds = async (more) => {
    const before = await seen();
    await until('some rounds', async () => (await seen()).every(([, rounds], n) => rounds >= before[n][1] + more));
  };
  const sides = async (covered, expected) => {
    // What was under way when the move came is over after two rounds.
    await rounds(2);
    const before = await seen();
    await rounds(2);
    const after = await seen();
    for (const name of covered) {
      const count = (side) => after.reduce((sum, [now], n) => sum + now[name][side] - before[n][0][name][side], 0);
      const by = [count('ours') > 0, count('theirs') > 0];
      if (expected) assert.deepEqual(by, expected, `${name}: answered by us, by the old server`);
      else assert.ok(by[0] || by[1], `${name} is not answered`);
    }
  };

  await sides(names, [false, true]);
  console.log('ok   everything is answered by the old server at first');
  const both = names.filter((name) => name !== 'invoices.list');
  const groups = which === 'each' ? both : [...new Set(both.map((name) => `${name.split('.')[0]}.*`))];
  for (const group of groups) {
    const covered = both.filter((name) => (group.endsWith('*') ? name.startsWith(group.slice(0, -1)) : name === group));
    await set(group, 'shadow');
    await sides(covered, [false, true]);
    await set(group, 'share', 50);
    await sides(covered);
    await set(group, 'native');
    await sides(covered, [true, false]);
    await set(group, 'legacy');
    await sides(covered, [false, true]);
    console.log(`ok   ${group} moved over and back`);
  }
  await Promise.all(pages.map((page) => page.evaluate(() => window.end())));
  let calls = 0;
  for (const [all] of await seen()) {
    for (const [name, { ours, theirs, failed }] of Object.entries(all)) {
      assert.deepEqual(failed, [], name);
      calls += ours + theirs;
      if (name === 'invoices.list') assert.equal(ours, 0);
    }
  }
  console.log(`ok   none of ${calls} calls failed`);

  // Whoever is not signed in is refused, which the page of moves says in both languages, as it says what does not move.
  await set('aiMetrics.getRolloutStatus', 'shadow');
  const refused = await fetch(`${base}/api/trpc/aiMetrics.getRolloutStatus`);
  assert.equal(refused.status, 401);
  for (const [locale, ...words] of [
    ['en-GB', '1 refused, 0 of them failed', 'never compared', 'whoever is not signed in', 'migration.* is always answered here'],
    ['da-DK', '1 afvist, 0 af dem fejlede', 'sammenlignes aldrig', 'ikke er logget ind', 'migration.* besvares altid her'],
  ]) {
    const context = await browser.newContext({ locale });
    await context.addCookies([{ name: 'app_session_id', value: admin, url: base }]);
    const page = await context.newPage();
    await page.goto(`${base}/dashboard/migration`);
    const says = (word) => page.getByText(word).first().waitFor();
    for (const word of words) await says(word);
    await page.getByRole('button', { name: 'aiMetrics.getRolloutStatus', exact: true }).click();
    await says(locale === 'en-GB' ? 'the old one 1 of 1' : 'den gamle 1 af 1');
    await context.close();
  }
  console.log('ok   the page of moves says who was refused and what does not move, in English and Danish');
  console.log(`${groups.length + 3} passed, 0 failed`);
} finally {
  await browser?.close();
  children.forEach((child) => child.kill());
  fs.rmSync(folder, { recursive: true, force: true });
}
