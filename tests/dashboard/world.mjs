// The world that the tests look at: a server with its sandbox, users who chat, and rollouts in different states.
import assert from 'node:assert/strict';
import { execFileSync, spawn } from 'node:child_process';
import fs from 'node:fs';
import net from 'node:net';
import os from 'node:os';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';

const CATALOG = `
[providers.demo]
base_url = "http://127.0.0.1:9/v1"
api_key_env = "MODELRAMP_DEMO_API_KEY"

[models.gemma-3-27b]
provider = "demo"
id = "gemma-3-27b"
display_name = "Gemma 3 27B"
context = 32000

[models.glm-4-5-air]
provider = "demo"
id = "glm-4-5-air"
display_name = "GLM-4.5 Air"
context = 32000

[tasks.chat]
control = ["gemma-3-27b"]
candidate = ["glm-4-5-air", "gemma-3-27b"]

[tasks.email-draft]
control = ["gemma-3-27b"]
candidate = ["glm-4-5-air", "gemma-3-27b"]
`;

// Only the candidate fails. What few failures of control say takes a while to be outweighed.
const SANDBOX = `
seed = 3
[models.gemma-3-27b]
latency_ms = 60
spread = 0.3
error_rate = 0.0
[models.glm-4-5-air]
latency_ms = 45
spread = 0.3
error_rate = 0.08
`;

/** A plan that stays in its second stage, however long the tests look. */
export const PLAN = `
name = "standard"
description = "10 % for a moment, then half for two days"
tasks = ["chat", "email-draft"]
deadline = "30days"
holdout = 1

[evidence]
good_error_rate = 0.001
max_error_rate = 0.50
outage_period = "0s"

[[stages]]
share = 10
soak = "1s"
min_requests = 5
min_users = 2
min_time = "1s"

[[stages]]
share = 50
soak = "48h"

[[stages]]
share = 100
soak = "7days"
`;

const SEED = `
import random, sqlite3, sys, time
db = sqlite3.connect(sys.argv[1])
ranges, now = random.Random(7), int(time.time() * 1000)
writer = db.execute("INSERT INTO writers (holder, release, started_ms, ended_ms, last_batch) VALUES ('seeded', 'seeded', 0, 0, 200) RETURNING writer").fetchone()[0]
head = db.execute("SELECT head_seq FROM leases WHERE name = 'rollouts'").fetchone()[0]
fault = ['timeout', 'upstream', 'rate-limited']
def event(n):
    at = now - 6 * 86400000 + n * 5184
    user = 7777 if n % 14000 == 0 else 1000 + n % 500
    outcome = fault[n % 3] if n % 97 == 0 else 'success'
    model = 'glm-4-5-air' if n % 2 else 'gemma-3-27b'
    return (writer, n // 500 + 1, n % 500, at, 'seed-%d' % n, user, 0, 0, model, 'chat', 'candidate' if n % 2 else 'control', 0, ranges.uniform(20, 900), 200, 80, 40, outcome)
db.executemany('INSERT INTO event_order (first_seq, writer, batch, events, fence) VALUES (?, ?, ?, 500, 0)', [(head + 1 + batch * 500, writer, batch + 1) for batch in range(200)])
db.executemany('INSERT INTO events (writer, batch, place, at_ms, request_id, user_id, counted, was_open, model, task, variant, position, latency_ms, prompt_tokens, completion_tokens, cost_microdollars, outcome) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)', (event(n) for n in range(100000)))
db.execute("UPDATE leases SET head_seq = ? WHERE name = 'rollouts'", (head + 100000,))
db.commit()
`;

export const freePort = () => new Promise((resolve) => {
  const probe = net.createServer().listen(0, '127.0.0.1', () => {
    const { port } = probe.address();
    probe.close(() => resolve(port));
  });
});

export const until = async (what, ask, ms = 20_000) => {
  const end = Date.now() + ms;
  for (;;) {
    const value = await ask();
    if (value) return value;
    if (Date.now() > end) throw new Error(`never came within ${ms} ms: ${what}`);
    await sleep(50);
  }
};

export class World {
  constructor(binary, port) {
    this.binary = path.resolve(binary);
    this.port = port;
    this.folder = fs.mkdtempSync(path.join(os.tmpdir(), 'modelramp-dashboard-'));
    this.url = `http://127.0.0.1:${port}`;
    fs.writeFileSync(path.join(this.folder, 'catalog.toml'), CATALOG);
    fs.writeFileSync(path.join(this.folder, 'sandbox.toml'), SANDBOX);
    fs.writeFileSync(path.join(this.folder, 'plan.toml'), PLAN);
  }

  environment(settings = {}) {
    return {
      PATH: process.env.PATH, HOME: this.folder, APP_ENV: 'test', HOST: '127.0.0.1', PORT: `${this.port}`,
      DATABASE_URL: `sqlite://${this.folder}/world.db`, JWT_SECRET: '0123456789abcdef0123456789abcdef',
      PUBLIC_URL: this.url, MODEL_CATALOGUE: `${this.folder}/catalog.toml`, SANDBOX_CONFIG: `${this.folder}/sandbox.toml`,
      CHAT_RATE_LIMIT: '1000', LOG_LEVEL: 'warn', TEXT_TASKS: 'chat', SHUTDOWN_TIMEOUT: '2s', ...settings,
    };
  }

  async start() {
    const log = fs.openSync(path.join(this.folder, 'server.log'), 'a');
    this.server = spawn(this.binary, ['serve'], { cwd: this.folder, env: this.environment(), stdio: ['ignore', log, log] });
    await until('the server', () => {
      assert.equal(this.server.exitCode, null, fs.readFileSync(path.join(this.folder, 'server.log'), 'utf8'));
      return fetch(`${this.url}/readyz`).then((r) => r.ok, () => false);
    });
  }

  async stop() {
    if (!this.server || this.server.exitCode !== null) return;
    const gone = new Promise((resolve) => this.server.once('exit', resolve));
    this.server.kill('SIGTERM');
    await gone;
  }

  command(...args) {
    return execFileSync(this.binary, args, { cwd: this.folder, env: this.environment(), encoding: 'utf8' }).trim();
  }

  /** A command that talks to the server as an admin. */
  admin(...args) {
    this.token ??= this.command('token', '--user', '1', '--role', 'admin', '--create');
    return execFileSync(this.binary, args, {
      cwd: this.folder, env: this.environment({ MODELRAMP_TOKEN: this.token }), encoding: 'utf8',
    }).trim();
  }

  /** Users who chat for some seconds, from this one on; resolves when they are done. */
  drive(seconds, rate = 60, first = 2) {
    const child = spawn(this.binary, ['drive', '--url', this.url, '--users', '200', '--first-user', `${first}`, '--rate', `${rate}`,
      '--duration', `${seconds}s`, '--max-failed', '100'], { cwd: this.folder, env: this.environment(), stdio: 'ignore' });
    return new Promise((resolve) => child.once('exit', resolve));
  }

  /** Adds a hundred thousand attempts of the last six days, while no server runs; 8 of them of user 7777. */
  seed() {
    execFileSync('python3', ['-c', SEED, path.join(this.folder, 'world.db')]);
  }

  loginLink(user = 1, role = 'admin') {
    return this.command('token', '--login-link', '--user', `${user}`, '--role', role);
  }
}
