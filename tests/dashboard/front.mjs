// The server with dashboard/dist in front of it under the policy that the server sends.
import fs from 'node:fs';
import http from 'node:http';
import path from 'node:path';

export const POLICY =
  "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'; require-trusted-types-for 'script'";

const TYPES = { '.html': 'text/html; charset=utf-8', '.js': 'text/javascript', '.css': 'text/css', '.svg': 'image/svg+xml', '.md': 'text/markdown' };

export function front(dist, target, port) {
  const { hostname, port: targetPort } = new URL(target);
  const server = http.createServer((request, response) => {
    const { pathname } = new URL(request.url, target);
    if (pathname.startsWith('/dashboard') && !pathname.startsWith('/dashboard/export/')) {
      const file = path.join(dist, pathname.slice('/dashboard'.length));
      const found = fs.existsSync(file) && fs.statSync(file).isFile() ? file : path.extname(file) ? null : path.join(dist, 'index.html');
      if (!found) return response.writeHead(404).end();
      response.writeHead(200, { 'content-type': TYPES[path.extname(found)] ?? 'application/octet-stream', 'content-security-policy': POLICY });
      return fs.createReadStream(found).pipe(response);
    }
    const onward = http.request({ hostname, port: targetPort, path: request.url, method: request.method, headers: request.headers }, (answer) => {
      response.writeHead(answer.statusCode, answer.headers);
      response.flushHeaders();
      answer.pipe(response);
    });
    onward.on('error', () => {
      if (!response.headersSent) response.writeHead(502).end();
      else response.destroy();
    });
    response.on('close', () => onward.destroy());
    request.pipe(onward);
  });
  return new Promise((resolve) => server.listen(port, '127.0.0.1', () => resolve(server)));
}
