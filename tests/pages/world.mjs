// What pages take for granted beside modelramp: the server of before, and a PostgreSQL.

import { spawn } from "node:child_process";
import { createServer } from "node:http";
import { once } from "node:events";

/// The old tRPC server: everybody is nobody there, as `auth.me` says. Returns how to close it.
export async function oldServer(port) {
  const server = createServer((_, response) => {
    response.setHeader("content-type", "application/json");
    response.end('{"result":{"data":{"json":null}}}');
  });
  server.listen(port, "127.0.0.1");
  await once(server, "listening");
  return () => new Promise((done) => server.close(done).closeAllConnections());
}

/// A PostgreSQL with the database `ramp` of the user `ramp`, who needs no password. It stops with its input.
const POSTGRES = `
set -eu
programs=$(ls -d /usr/lib/postgresql/*/bin | tail -1)
folder=$(mktemp -d /tmp/modelramp-page-postgres.XXXXXX)
trap '' INT HUP TERM
trap 'rm -rf "$folder"' EXIT
cd "$folder"
"$programs/initdb" --no-sync --auth=trust --username=ramp --encoding=UTF8 --locale=C --pgdata=data >log 2>&1
"$programs/pg_ctl" start --wait --pgdata=data --log=log -o "-k $folder -h 127.0.0.1 -p $1 -c fsync=off" >/dev/null
"$programs/createdb" -h 127.0.0.1 -p $1 -U ramp ramp
echo ready
cat >/dev/null || true
"$programs/pg_ctl" stop --mode=immediate --pgdata=data >/dev/null 2>&1 || true
`;

export async function postgres(port) {
  const words = ["sh", "-c", POSTGRES, "sh", String(port)];
  // PostgreSQL refuses to run as root.
  if (process.getuid() === 0) words.unshift("runuser", "-u", "nobody", "--");
  const child = spawn(words[0], words.slice(1), { cwd: "/tmp", stdio: ["pipe", "pipe", "inherit"] });
  const [said] = await Promise.race([once(child.stdout, "data"), once(child, "exit")]);
  if (String(said).trim() !== "ready") throw new Error("PostgreSQL does not start");
  return async () => {
    child.stdin.end();
    await once(child, "exit");
  };
}
