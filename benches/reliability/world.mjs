// A modelramp of its own for a campaign: the sandbox, a server, users who ask, and what was seen of each.

import { spawn } from "node:child_process";
import { mkdtempSync, openSync, readFileSync, rmSync } from "node:fs";
import { Agent, request } from "node:http";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";

export const sleep = (ms) => new Promise((done) => setTimeout(done, ms));

export async function freePort() {
  const listener = createServer();
  await new Promise((done) => listener.listen(0, "127.0.0.1", done));
  const { port } = listener.address();
  await new Promise((done) => listener.close(done));
  return port;
}

/// Waits until something is so; throws with `what` after a minute.
export async function until(what, look, patience = 60_000) {
  const end = Date.now() + patience;
  for (;;) {
    const seen = await look().catch(() => undefined);
    if (seen) return seen;
    if (Date.now() > end) throw new Error(`never: ${what}`);
    await sleep(50);
  }
}

/// One HTTP request; its status and body, or the fault of its connection.
export function ask(port, path, { token, body, agent, onChunk, patience = 60_000 } = {}) {
  return new Promise((done) => {
    const began = performance.now();
    const headers = { "content-type": "application/json", ...(token && { authorization: `Bearer ${token}` }) };
    const sent = request({ host: "127.0.0.1", port, path, method: body ? "POST" : "GET", headers, agent, timeout: patience }, (response) => {
      let text = "";
      response.setEncoding("utf8");
      response.on("data", (chunk) => {
        text += chunk;
        if (onChunk?.(text) === false) sent.destroy();
      });
      const end = (fault) => done({ status: response.statusCode, text, fault, ms: performance.now() - began });
      response.on("end", () => end());
      response.on("error", (error) => end(error.code ?? error.message));
    });
    sent.on("timeout", () => sent.destroy(new Error("hung")));
    sent.on("error", (error) => done({ status: 0, text: "", fault: error.code ?? error.message, ms: performance.now() - began }));
    sent.end(body && JSON.stringify(body));
  });
}

export const chat = (more) => ({ model: "task/chat", messages: [{ role: "user", content: "How do I write a good offer?" }], ...more });

export class World {
  constructor(program, settings = {}) {
    this.program = resolve(program);
    this.folder = mkdtempSync(join(tmpdir(), "modelramp-campaign."));
    this.processes = new Set();
    this.settings = settings;
  }

  environment() {
    return { PATH: process.env.PATH, HOME: this.folder, DATABASE_URL: `sqlite://${join(this.folder, "data.db")}`, CHAT_RATE_LIMIT: "100000", LOG_LEVEL: "warn", ...this.settings };
  }

  spawn(program, words, more = {}) {
    const log = openSync(join(this.folder, "log"), "a");
    const child = spawn(program, words, { cwd: this.folder, env: { ...this.environment(), ...more }, stdio: ["ignore", log, log] });
    this.processes.add(child);
    child.gone = new Promise((done) => child.on("exit", (code, signal) => (this.processes.delete(child), done(signal ?? code))));
    return child;
  }

  /// The simulated provider, as a process of its own, so that its memory is not the server's.
  async sandbox() {
    this.sandboxPort = await freePort();
    this.spawn(this.program, ["sandbox", "--port", String(this.sandboxPort)]);
    await until("the sandbox answers", async () => (await ask(this.sandboxPort, "/control/stats")).status === 200);
    this.settings.OPENROUTER_BASE_URL = `http://127.0.0.1:${this.sandboxPort}/v1`;
  }

  /// How every model behaves from now on.
  async behave(wanted) {
    for (const model of ["z-ai/glm-4.5-air:free", "google/gemma-3-27b-it:free"]) {
      await new Promise((done, fail) => {
        const sent = request({ host: "127.0.0.1", port: this.sandboxPort, path: `/control/models/${model}`, method: "PUT", headers: { "content-type": "application/json" } }, (response) => {
          response.resume();
          response.on("end", () => (response.statusCode < 300 ? done() : fail(new Error(`the sandbox refuses: ${response.statusCode}`))));
        });
        sent.on("error", fail);
        sent.end(JSON.stringify(wanted));
      });
    }
  }

  async serve({ program = this.program, port, more = {}, wrapped = [] } = {}) {
    port ??= await freePort();
    const words = [...wrapped, resolve(program), "serve"];
    const child = this.spawn(words[0], words.slice(1), { PORT: String(port), ...more });
    child.port = port;
    await until("the server is ready", async () => {
      if (child.exitCode !== null) throw new Error("it ended");
      return (await ask(port, "/readyz")).status === 200;
    });
    return child;
  }

  /// What a command prints, without its last line's end.
  async run(words, more = {}) {
    const child = spawn(this.program, words, { cwd: this.folder, env: { ...this.environment(), ...more }, stdio: ["ignore", "pipe", "pipe"] });
    let [out, err] = ["", ""];
    child.stdout.on("data", (some) => (out += some));
    child.stderr.on("data", (some) => (err += some));
    const code = await new Promise((done) => child.on("exit", done));
    if (code !== 0) throw new Error(`modelramp ${words.join(" ")} ended with ${code}: ${err}`);
    return out.trim();
  }

  async tokens(count) {
    const admin = await this.run(["token", "--user", "1", "--role", "admin", "--create"]);
    const users = [];
    for (let user = 2; user < count + 2; user += 1) users.push(await this.run(["token", "--user", String(user)]));
    return { admin, users };
  }

  log() {
    return readFileSync(join(this.folder, "log"), "utf8");
  }

  async end() {
    for (const child of this.processes) child.kill("SIGKILL");
    await sleep(100);
    rmSync(this.folder, { recursive: true, force: true, maxRetries: 5 });
  }
}

/// A procedure over JSON-RPC.
export async function rpc(port, token, method, params) {
  const answer = await ask(port, "/rpc", { token, body: { jsonrpc: "2.0", id: 1, method, params } });
  const { result, error } = JSON.parse(answer.text || "{}");
  if (error || answer.status !== 200) throw new Error(`${method}: ${answer.status} ${error?.message ?? answer.fault}`);
  return result;
}

/// Users who ask one after the other until they are told to stop; what they saw.
export function users(tokens, port, beside = 1) {
  const seen = { answered: 0, failed: [], slowest: 0 };
  let stopped = false;
  const agent = new Agent({ keepAlive: true, maxSockets: 1_000 });
  const one = async (token) => {
    while (!stopped) {
      const answer = await ask(port(), "/v1/chat/completions", { token, body: chat({ max_tokens: 16 }), agent });
      if (answer.status === 200 && !answer.fault) seen.answered += 1;
      else {
        seen.failed.push({ at: Date.now(), status: answer.status, fault: answer.fault ?? answer.text.slice(0, 120) });
        await sleep(20);
      }
      seen.slowest = Math.max(seen.slowest, answer.ms);
    }
  };
  const all = tokens.flatMap((token) => Array.from({ length: beside }, () => one(token)));
  seen.stop = async () => {
    stopped = true;
    await Promise.all(all);
    agent.destroy();
    return seen;
  };
  return seen;
}

/// Resident memory of a process, in MB.
export function resident(child) {
  const status = readFileSync(`/proc/${child.pid}/status`, "utf8");
  return Number(status.match(/VmRSS:\s+(\d+)/)[1]) / 1024;
}

export function counted(failed) {
  const kinds = {};
  for (const { status, fault } of failed) {
    const kind = `${status} ${fault}`.slice(0, 80);
    kinds[kind] = (kinds[kind] ?? 0) + 1;
  }
  return kinds;
}
