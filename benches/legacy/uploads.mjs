// Uploads at once through modelramp, and the memory that it takes meanwhile (Linux):
//
//   PORT=4100 node tests/legacy/server.mjs
//   LEGACY_TRPC_URL=http://127.0.0.1:4100/api/trpc LEGACY_PATHS=/api/files modelramp serve
//   node benches/legacy/uploads.mjs http://127.0.0.1:3000 <process id of modelramp> [uploads] [MB each]
import { readFileSync } from 'node:fs';
import http from 'node:http';

const [base, pid, uploads = 100, megabytes = 100] = process.argv.slice(2);
const part = Buffer.alloc(1_000_000, 'x');

function upload() {
  return new Promise((resolve, reject) => {
    const options = { method: 'POST', agent: false, headers: { 'content-length': megabytes * part.length } };
    const request = http.request(`${base}/api/files/upload`, options, (response) => {
      let text = '';
      response.on('data', (data) => (text += data));
      response.on('end', () => resolve(JSON.parse(text).bytes));
    });
    request.on('error', reject);
    let sent = 0;
    const more = () => {
      while (sent < megabytes) {
        sent += 1;
        if (!request.write(part)) return request.once('drain', more);
      }
      request.end();
    };
    more();
  });
}

const began = Date.now();
const bytes = await Promise.all(Array.from({ length: Number(uploads) }, upload));
const whole = bytes.filter((it) => it === megabytes * part.length).length;
const peak = /VmHWM:\s+(\d+) kB/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))[1];
const seconds = (Date.now() - began) / 1000;
console.log(`${whole} of ${uploads} uploads of ${megabytes} MB in ${seconds} s; at most ${Math.round(peak / 1024)} MiB`);
