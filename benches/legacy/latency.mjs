// What passing a call on costs: the same call to the old server directly and through modelramp, in turn.
//
//   PORT=4100 node tests/legacy/server.mjs                        # the old server; ends with its input
//   LEGACY_TRPC_URL=http://127.0.0.1:4100/api/trpc modelramp serve
//   node benches/legacy/latency.mjs http://127.0.0.1:3000 http://127.0.0.1:4100 [calls]
import http from 'node:http';

const [through, direct, calls = 4000] = process.argv.slice(2);
const agents = new Map([through, direct].map((base) => [base, new http.Agent({ keepAlive: true, maxSockets: 1 })]));

function ask(base, path) {
  return new Promise((resolve, reject) => {
    const began = process.hrtime.bigint();
    const request = http.get(base + path, { agent: agents.get(base) }, (response) => {
      response.on('data', () => {});
      response.on('end', () => resolve(Number(process.hrtime.bigint() - began) / 1e6));
    });
    request.on('error', reject);
  });
}

const sorted = (values) => [...values].sort((a, b) => a - b);
const quantile = (values, p) => sorted(values)[Math.floor((values.length - 1) * p)];
const input = encodeURIComponent(JSON.stringify({ json: { text: 'x'.repeat(200) } }));
const batch = encodeURIComponent(JSON.stringify({ 0: { json: 1 }, 1: { json: 2 } }));
for (const [name, path, plain] of [
  ['a query', `/api/trpc/old.echo?input=${input}`],
  ['a batch of two', `/api/trpc/old.echo,old.echo?batch=1&input=${batch}`],
  ['a mixed batch of two', `/api/trpc/old.echo,auth.me?batch=1&input=${batch}`, `/api/trpc/old.echo?batch=1&input=${batch}`],
]) {
  const times = { direct: [], through: [] };
  for (let n = 0; n < Number(calls); n++) {
    const pairs = [['direct', direct, plain ?? path], ['through', through, path]];
    for (const [kind, base, asked] of n % 2 ? pairs : pairs.reverse()) {
      const time = await ask(base, asked);
      if (n >= 200) times[kind].push(time);
    }
  }
  const [p50, p95] = [0.5, 0.95].map((p) => [quantile(times.direct, p), quantile(times.through, p)]);
  const text = ([a, b]) => `${a.toFixed(3)} ms direct, ${b.toFixed(3)} ms through, ${(b - a).toFixed(3)} ms more`;
  console.log(`${name}: median ${text(p50)}; P95 ${text(p95)}`);
}
process.exit(0);
