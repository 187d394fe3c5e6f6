// Opens many SSE subscriptions and reports how many events came, and how late after the slowest second began.
// Usage: node subscriptions.mjs URL TOKEN COUNT SECONDS
import http from 'node:http';

const [url, token, count, seconds] = process.argv.slice(2);
const agent = new http.Agent({ keepAlive: true, maxSockets: Infinity });
let open = 0;
let events = 0;
const gaps = [];
const start = performance.now();
const requests = Array.from({ length: Number(count) }, () => {
  let last = 0;
  const request = http.get(url, { agent, headers: { authorization: `Bearer ${token}`, accept: 'text/event-stream' } }, (response) => {
    open += 1;
    response.on('data', (chunk) => {
      for (let i = chunk.indexOf('data: {"json"'); i >= 0; i = chunk.indexOf('data: {"json"', i + 1)) {
        const now = performance.now();
        events += 1;
        if (last) gaps.push(now - last);
        last = now;
      }
    });
  });
  request.on('error', () => {});
  return request;
});
setTimeout(() => {
  for (const request of requests) request.destroy();
  gaps.sort((a, b) => a - b);
  const at = (p) => gaps[Math.min(gaps.length - 1, Math.floor(gaps.length * p))]?.toFixed(1) ?? 'n/a';
  const elapsed = (performance.now() - start) / 1000;
  console.log(`open=${open} events=${events} per_second=${(events / elapsed).toFixed(0)} gap_p50_ms=${at(0.5)} gap_p99_ms=${at(0.99)}`);
  process.exit(0);
}, Number(seconds) * 1000);
