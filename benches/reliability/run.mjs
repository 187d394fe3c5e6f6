// What a server has to live through, one kind at a time: node benches/reliability/run.mjs NAME PROGRAM [ARGUMENT]
//
//   load PROGRAM [MINUTES [USERS]] users who never stop; memory must stay flat (10, 16)
//   streams PROGRAM [COUNT]       that many streams at once, half of whose clients leave (1000)
//   upgrade PROGRAM OLD           OLD is stopped and PROGRAM started on its database, under load, in the middle of a rollout
//   clock PROGRAM                 the clock jumps an hour on and back, in the middle of a rollout; needs Debian's faketime
//   network PROGRAM               the way to the models is slow, cut, silent, and whole again
//
// Prints what was injected, what was promised and what was seen, as a row of docs/reliability.md; exit code 1 where a promise
// was broken.

import { writeFileSync } from "node:fs";
import { createServer, connect } from "node:net";
import { join } from "node:path";

import { World, ask, chat, counted, freePort, resident, rpc, sleep, until, users } from "./world.mjs";

const broken = [];
const promise = (holds, what) => holds || broken.push(what);
const PLAN = `name = "campaign"
tasks = ["chat"]
deadline = "24h"
holdout = 0
[[stages]]
share = 50
soak = "2h"
[[stages]]
share = 100
soak = "2h"
`;

async function load(program, minutes = "10", count = "16") {
  const world = new World(program);
  try {
    await world.sandbox();
    await world.behave({ latency_ms: 20 });
    const { admin, users: tokens } = await world.tokens(Number(count));
    const server = await world.serve();
    await rpc(server.port, admin, "rollout.start", { plan: PLAN, reason: "a campaign" });
    const seen = users(tokens, () => server.port);
    const end = Date.now() + Number(minutes) * 60_000;
    const samples = [];
    while (Date.now() < end) {
      await sleep(Math.min(10_000, Number(minutes) * 6_000));
      samples.push(resident(server));
    }
    await seen.stop();
    // The first fifth warms up: windows, caches and pools get their size.
    const fifth = Math.ceil(samples.length / 5);
    const median = (of) => of.toSorted((a, b) => a - b)[Math.floor(of.length / 2)];
    const [early, late] = [median(samples.slice(fifth, 2 * fifth)), median(samples.slice(-fifth))];
    promise(late <= early * 1.1 + 8, `memory grew from ${early} to ${late} MB`);
    promise(seen.failed.length === 0, `failed: ${JSON.stringify(counted(seen.failed))}`);
    return `${minutes} min, ${count} users without a pause, a rollout at 50 %: ${seen.answered} answers (${Math.round(seen.answered / minutes / 60)}/s), ${seen.failed.length} failed; resident ${early.toFixed(0)} MB in the second fifth, ${late.toFixed(0)} MB in the last, ${Math.max(...samples).toFixed(0)} MB at most`;
  } finally {
    await world.end();
  }
}

async function streams(program, count = "1000") {
  const world = new World(program, { MAX_CONNECTIONS: "4096" });
  try {
    await world.sandbox();
    await world.behave({ latency_ms: 100, word_ms: 200 });
    const { admin, users: tokens } = await world.tokens(8);
    const server = await world.serve();
    const idle = resident(server);
    let leaving = 0;
    const all = Array.from({ length: Number(count) }, (_, index) => {
      const leaves = index % 2 === 1;
      const onChunk = leaves ? (text) => text.length < 200 || ((leaving += 1), false) : undefined;
      return ask(server.port, "/v1/chat/completions", { token: tokens[index % tokens.length], body: chat({ stream: true }), onChunk, patience: 180_000 });
    });
    let most = 0;
    const watch = setInterval(() => (most = Math.max(most, resident(server))), 200);
    const ended = await Promise.all(all);
    clearInterval(watch);
    const stayed = ended.filter((_, index) => index % 2 === 0);
    const whole = stayed.filter((it) => it.status === 200 && it.text.trimEnd().endsWith("data: [DONE]"));
    const open = () => ask(server.port, "/metrics", {}).then(({ text }) => Number(text.match(/^connections_open (\d+)/m)?.[1]));
    await until("all streams are let go", async () => (await open()) <= 4);
    const health = await ask(server.port, "/healthz");
    const summary = await rpc(server.port, admin, "aiMetrics.getSummary", { lastMinutes: 60 });
    promise(whole.length === stayed.length, `${stayed.length - whole.length} of those who stayed have no whole answer: ${JSON.stringify(counted(stayed.filter((it) => !whole.includes(it))))}`);
    promise(health.status === 200, "health is not answered");
    promise(summary.errorRate === 0, `callers who left count as errors: ${summary.errorRate}`);
    return `${count} streams at once, ${leaving} clients left in the middle: ${whole.length} of ${stayed.length} who stayed have their whole answer; error rate ${summary.errorRate} %; connections back to ${await open()}; resident ${idle.toFixed(0)} MB before, ${most.toFixed(0)} MB at most, ${resident(server).toFixed(0)} MB after`;
  } finally {
    await world.end();
  }
}

async function upgrade(program, old) {
  const world = new World(old);
  try {
    await world.sandbox();
    const { admin, users: tokens } = await world.tokens(12);
    let server = await world.serve({ program: old });
    const { port } = server;
    const { id } = await rpc(port, admin, "rollout.start", { plan: PLAN, reason: "a campaign" });
    const seen = users(tokens, () => port);
    await until("the old one has answered", async () => seen.answered > 100);
    const before = await rpc(port, admin, "rollout.get", { id });
    const stopped = Date.now();
    server.kill("SIGTERM");
    const code = await server.gone;
    const gone = Date.now();
    server = await world.serve({ program, port });
    const ready = Date.now();
    const answered = seen.answered;
    await until("the new one has answered", async () => seen.answered > answered + 100);
    await seen.stop();
    const after = await rpc(port, admin, "rollout.get", { id });
    world.program = program;
    const late = seen.failed.filter((it) => it.at > ready + 1_000 || it.at < stopped);
    promise(code === 0, `the old one ended with ${code}`);
    promise(after.share === before.share && after.state.name === before.state.name, `the rollout was ${before.state.name} at ${before.share} %, and is ${after.state.name} at ${after.share} %`);
    promise(seen.failed.every((it) => it.status === 0 || it.status === 503), `failed otherwise than by a closed port: ${JSON.stringify(counted(seen.failed))}`);
    promise(late.length === 0, `failed outside of the change: ${JSON.stringify(counted(late))}`);
    return `12 users without a pause: ${gone - stopped} ms to stop, ${ready - gone} ms until the new one is ready, migrations included; ${seen.answered} answers, ${seen.failed.length} refused connections meanwhile, none failed otherwise; the rollout went on at ${after.share} %`;
  } finally {
    await world.end();
  }
}

async function clock(program) {
  const world = new World(program);
  try {
    await world.sandbox();
    const { admin, users: tokens } = await world.tokens(8);
    const offset = join(world.folder, "offset");
    const move = (by) => writeFileSync(offset, by);
    move("+0");
    const preload = "/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1";
    const more = { LD_PRELOAD: preload, FAKETIME_TIMESTAMP_FILE: offset, FAKETIME_NO_CACHE: "1", FAKETIME_DONT_FAKE_MONOTONIC: "1" };
    const server = await world.serve({ more });
    const { id } = await rpc(server.port, admin, "rollout.start", { plan: PLAN, reason: "a campaign" });
    const seen = users(tokens, () => server.port);
    const rows = [];
    for (const by of ["+0", "+3600", "+0", "-3600", "+0"]) {
      move(by);
      const answered = seen.answered;
      await until(`answers at ${by} s`, async () => seen.answered > answered + 150);
      await sleep(3_000);
      const { timestamp } = await rpc(server.port, admin, "aiMetrics.getModelBreakdown", {});
      promise(Math.abs(Date.parse(timestamp) - Date.now() - Number(by) * 1_000) < 30_000, `its clock did not move by ${by} s: ${timestamp}`);
      const { state, share, soakedMs } = await rpc(server.port, admin, "rollout.get", { id });
      rows.push(`${by} s: ${state.name} at ${share} %, soaked ${Math.round(soakedMs / 1000)} s`);
      promise(share === 50, `the share is ${share} % after a jump by ${by} s`);
      promise(soakedMs < 600_000, `a jump by ${by} s counts as soak: ${soakedMs} ms`);
    }
    await seen.stop();
    const replayed = await world.run(["rollout", "replay", id]);
    promise(seen.failed.length === 0, `failed: ${JSON.stringify(counted(seen.failed))}`);
    promise(replayed.includes("identical"), `the replay differs: ${replayed}`);
    return `${seen.answered} answers, ${seen.failed.length} failed; ${rows.join("; ")}; the replay is identical`;
  } finally {
    await world.end();
  }
}

/// A way that can be slowed, cut, and made silent.
async function way(to) {
  const port = await freePort();
  const sockets = new Set();
  const it = { port, mode: "whole" };
  const listener = createServer((near) => {
    if (it.mode === "cut") return near.resetAndDestroy();
    const far = connect(to, "127.0.0.1");
    for (const socket of [near, far]) {
      sockets.add(socket);
      socket.on("error", () => {});
      socket.on("close", () => (sockets.delete(socket), near.destroy(), far.destroy()));
    }
    const pass = (from, into) => from.on("data", async (bytes) => {
      if (it.mode === "silent") return;
      if (it.mode === "slow") await sleep(400);
      if (!into.destroyed) into.write(bytes);
    });
    pass(near, far);
    pass(far, near);
  });
  await new Promise((done) => listener.listen(port, "127.0.0.1", done));
  it.set = (mode) => {
    it.mode = mode;
    if (mode === "cut") for (const socket of sockets) socket.resetAndDestroy();
  };
  it.close = () => (listener.close(), sockets.forEach((socket) => socket.destroy()));
  return it;
}

async function network(program) {
  const world = new World(program, { BREAKER: "false" });
  try {
    await world.sandbox();
    const road = await way(world.sandboxPort);
    world.settings.OPENROUTER_BASE_URL = `http://127.0.0.1:${road.port}/v1`;
    const { admin, users: tokens } = await world.tokens(8);
    const server = await world.serve();
    const { id } = await rpc(server.port, admin, "rollout.start", { plan: PLAN, reason: "a campaign" });
    const seen = users(tokens, () => server.port);
    const rows = [];
    for (const [mode, seconds] of [["whole", 3], ["slow", 6], ["cut", 6], ["whole", 3], ["silent", 6], ["whole", 6]]) {
      const [answered, failed] = [seen.answered, seen.failed.length];
      road.set(mode);
      await sleep(seconds * 1_000);
      if (mode === "whole") await until("it answers again", async () => seen.answered > answered + 20);
      // What was silent stays silent for those who wait: their connections are let go.
      if (mode === "silent") road.set("cut");
      rows.push(`${mode} for ${seconds} s: ${seen.answered - answered} answered, ${seen.failed.length - failed} failed`);
      const health = await ask(server.port, "/healthz");
      promise(health.status === 200, `health is not answered while the way is ${mode}`);
    }
    await seen.stop();
    const { state } = await rpc(server.port, admin, "rollout.get", { id });
    promise(seen.failed.every((it) => [502, 503, 504].includes(it.status)), `failed otherwise: ${JSON.stringify(counted(seen.failed))}`);
    // Both sides fail alike, so the candidate is not to blame.
    promise(state.name !== "rolled-back", `the rollout is ${state.name}`);
    road.close();
    return `${rows.join("; ")}; every failure is a 502, 503 or 504; the rollout, both sides of which failed alike, is ${state.name}`;
  } finally {
    await world.end();
  }
}

const scenarios = { load, streams, upgrade, clock, network };
const [name, program, ...more] = process.argv.slice(2);
if (!scenarios[name] || !program) {
  console.error(`usage: node benches/reliability/run.mjs ${Object.keys(scenarios).join("|")} PROGRAM [ARGUMENT]`);
  process.exit(2);
}
console.log(await scenarios[name](program, ...more));
for (const what of broken) console.log(`BROKEN: ${what}`);
process.exit(broken.length > 0 ? 1 : 0);
