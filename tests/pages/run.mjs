// Runs what the pages tell people to type, as they tell it: node tests/pages/run.mjs PROGRAM [PAGE…]
//
// Each page is one shell in an empty folder beside this repository's files, from its first `sh` block to its last.
// Where a page starts no server of its own, one runs in that folder that was started as the README says. Pages run
// beside each other, so each has ports of its own in the place of those that it names; nothing else is changed.
//
//   a line that starts `modelramp` or `modelramp serve`   begins a server, which runs to the end of the page
//   # stop the server                                     stops it, and waits until it is gone
//   # NAME.toml   (or `//`, first in a block)             that block is this file of the folder
//   # not run here: REASON   (first in a block)           that block is left out, and docs/not-run.md names it

import { spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { mkdtemp, mkdir, readFile, readdir, rm, symlink, writeFile, cp } from "node:fs/promises";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { dirname, join, resolve } from "node:path";

import { oldServer, postgres } from "./world.mjs";

const root = resolve(import.meta.dirname, "../..");
/// How long a page may take on a machine that is busy.
const PATIENCE = 240_000;
/// How many run at once.
const BESIDE = 3;
/// What a test of its own runs, as it needs more than a shell.
const ELSEWHERE = new Map([["npm install @trpc/client superjson ../modelramp/schema", "documentation::front_end_snippet"]]);
/// The Python with two real models that scripts/test installs; without it, or nginx, their page is left out, which is said.
const python = process.env.MODELRAMP_TEST_PYTHON;
const realModels = python && dirname(dirname(resolve(python)));
/// Ports that pages name.
const PORTS = /(?<=127\.0\.0\.1:|localhost:|PORT=|server\.py )(3000|3001|3002|4000|4318|5432|5001|8090|8091|8443)\b/g;

const [program, ...wanted] = process.argv.slice(2);
if (program === undefined) {
  console.error("usage: node tests/pages/run.mjs PROGRAM [PAGE…]");
  process.exit(2);
}

/// The fenced blocks of a page, each with its language, the line of its first line, and its lines.
function blocks(text) {
  const found = [];
  let open = null;
  for (const [index, line] of text.split("\n").entries()) {
    const fence = line.trim().match(/^```(\S*)/);
    if (!fence) open?.lines.push(line);
    else if (open) {
      found.push(open);
      open = null;
    } else open = { language: fence[1], at: index + 2, lines: [] };
  }
  return found;
}

const notRun = (block) => block.lines[0]?.match(/^# not run here: (.+)/)?.[1];
const fileName = (block) => block.lines[0]?.match(/^(?:#|\/\/) ([\w./-]+\.\w+)$/)?.[1];
const startsServer = (line) => /^(?:[A-Z_]+=\S+ )*modelramp(?: serve)?\s*(?:#.*)?$/.test(line);

/// The commands of a page as one script.
function script(found) {
  const lines = ["set -eo pipefail", "trap 'echo \"@@ this failed: $BASH_COMMAND\" >&2' ERR"];
  const shell = found.filter((block) => block.language === "sh" && !notRun(block));
  if (!shell.some((block) => block.lines.some(startsServer))) lines.push(...server("modelramp"));
  for (const block of found) {
    if (notRun(block)) continue;
    const name = fileName(block);
    if (name !== undefined && block.language !== "sh") {
      const end = "END-OF-A-FILE-OF-THE-PAGE";
      lines.push(`mkdir -p "$(dirname '${name}')"`, `cat > '${name}' <<'${end}'`, ...block.lines, end);
    } else if (block.language === "sh" && !ELSEWHERE.has(block.lines.join("\n").trim())) {
      lines.push(`echo "@@ line ${block.at}" >&2`);
      for (const line of block.lines) {
        if (startsServer(line)) lines.push(...server(line));
        else if (line === "# stop the server") lines.push("kill $SERVERS; wait $SERVERS || true; SERVERS=");
        else lines.push(line);
      }
    }
  }
  return lines.join("\n") + "\n";
}

function server(line) {
  const port = line.match(/PORT=(\d+)/)?.[1];
  const asked = port ? `127.0.0.1:${port}` : "127.0.0.1:$PORT";
  return [
    `${line.replace(/#.*/, "")} >>server.log 2>&1 &`,
    "SERVERS=\"$SERVERS $!\"",
    `until curl -fs http://${asked}/readyz >/dev/null; do kill -0 $! || { cat server.log >&2; exit 1; }; sleep 0.1; done`,
  ];
}

async function freePort() {
  const listener = createServer();
  await new Promise((done) => listener.listen(0, "127.0.0.1", done));
  const { port } = listener.address();
  await new Promise((done) => listener.close(done));
  return port;
}

/// Runs one page; what was printed where it fails, else null.
async function run(page, found) {
  const folder = await mkdtemp(join(tmpdir(), "modelramp-page."));
  const ports = new Map();
  const commands = script(found);
  for (const port of ["3000", ...(commands.match(PORTS) ?? [])]) if (!ports.has(port)) ports.set(port, await freePort());
  const here = (text) => text.replaceAll(PORTS, (port) => ports.get(port));
  const closing = [];
  try {
    for (const entry of await readdir(root)) {
      if (!["target", "data", ".git", ".env"].includes(entry)) await symlink(join(root, entry), join(folder, entry));
    }
    await cp(join(import.meta.dirname, "world"), folder, { recursive: true });
    await mkdir(join(folder, "bin"));
    await symlink(resolve(program), join(folder, "bin/modelramp"));
    if (realModels) await symlink(realModels, join(folder, "models"));
    if (ports.has("4000")) closing.push(await oldServer(ports.get("4000")));
    if (ports.has("5432")) closing.push(await postgres(ports.get("5432")));
    await writeFile(join(folder, "page.sh"), here(commands));
    return await shell(folder, ports.get("3000"));
  } catch (error) {
    return String(error.stack);
  } finally {
    for (const close of closing) await close();
    await rm(folder, { recursive: true, force: true, maxRetries: 5 });
  }
}

function shell(folder, port) {
  const environment = {
    PATH: `${join(folder, "bin")}:${process.env.PATH}`,
    HOME: folder,
    LANG: "C.UTF-8",
    PORT: String(port),
  };
  const child = spawn("bash", ["page.sh"], { cwd: folder, env: environment, detached: true, stdio: ["ignore", "pipe", "pipe"] });
  let printed = "";
  for (const stream of [child.stdout, child.stderr]) stream.on("data", (some) => (printed = (printed + some).slice(-6_000)));
  const end = (signal) => {
    try {
      process.kill(-child.pid, signal);
    } catch {
      // Nobody of the group is left.
    }
  };
  return new Promise((done) => {
    const late = setTimeout(() => end("SIGKILL"), PATIENCE);
    child.on("exit", (code, signal) => {
      clearTimeout(late);
      end("SIGKILL");
      done(code === 0 ? null : `${printed}\n(ended with ${signal ?? code})`);
    });
  });
}

/// Pages of people, by their path below the repository.
async function pages() {
  const names = ["README.md", "CONTRIBUTING.md", "ARCHITECTURE.md"];
  for (const folder of ["docs", "docs/decisions"]) {
    for (const name of (await readdir(join(root, folder))).sort()) if (name.endsWith(".md")) names.push(`${folder}/${name}`);
  }
  const read = names.map(async (name) => [name, blocks(await readFile(join(root, name), "utf8"))]);
  return Promise.all(read);
}

/// What docs/not-run.md has to list, and whether it does.
async function listed(all) {
  const rows = all.flatMap(([name, found]) => found.filter(notRun).map((block) => `| ${name} | ${notRun(block)} |`));
  const text = await readFile(join(root, "docs/not-run.md"), "utf8");
  const there = text.split("\n").filter((line) => /^\| \S+\.md \|/.test(line));
  const differs = [...rows.filter((row) => !there.includes(row)), ...there.filter((row) => !rows.includes(row))];
  return differs.map((row) => `docs/not-run.md differs: ${row}`);
}

const all = await pages();
const faults = await listed(all);
const runs = all.filter(([name, found]) => found.some((block) => block.language === "sh" && !notRun(block)) && (wanted.length === 0 || wanted.some((part) => name.includes(part))));
const needsModels = runs.findIndex(([name]) => name === "docs/real-models.md");
const lacks = [
  ...(realModels ? [] : ["MODELRAMP_TEST_PYTHON names no Python with the models"]),
  ...(existsSync("/usr/sbin/nginx") ? [] : ["there is no nginx"]),
];
if (lacks.length > 0 && needsModels >= 0) {
  runs.splice(needsModels, 1);
  console.log(`left out: docs/real-models.md, as ${lacks.join(" and ")}`);
}
let count = 0;
const waiting = [...runs];
await Promise.all(
  Array.from({ length: BESIDE }, async () => {
    for (let next = waiting.shift(); next; next = waiting.shift()) {
      const [name, found] = next;
      const began = Date.now();
      const fault = await run(name, found);
      console.log(`${fault === null ? "ok    " : "FAILED"} ${name} (${((Date.now() - began) / 1000).toFixed(1)} s)`);
      if (fault !== null) faults.push(`${name}:\n${fault}`);
      count += 1;
    }
  }),
);
for (const fault of faults) console.log(`\n${fault}`);
console.log(`${count - faults.length} of ${count} pages run as they are written`);
process.exit(faults.length === 0 && count > 0 ? 0 : 1);
