// The old server: a real tRPC application on Express, with superjson, cookies, event streams, sockets and
// uploads. Prints its address; ends with its standard input.
import { createHash, createHmac } from 'node:crypto';
import { createServer } from 'node:http';
import { gzipSync } from 'node:zlib';
import { initTRPC, tracked, TRPCError } from '@trpc/server';
import { createExpressMiddleware } from '@trpc/server/adapters/express';
import { applyWSSHandler } from '@trpc/server/adapters/ws';
import express from 'express';
import superjson from 'superjson';
import { WebSocketServer } from 'ws';

const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
const t = initTRPC.context().create({
  transformer: superjson,
  isDev: false,
  sse: { ping: { enabled: true, intervalMs: 200 } },
});
const any = t.procedure.input((value) => value);

async function digest(stream) {
  const hash = createHash('sha256');
  let bytes = 0;
  for await (const part of stream) {
    bytes += part.length;
    hash.update(part);
  }
  return { bytes, sha256: hash.digest('hex') };
}

const old = t.router({
  echo: any.query(({ input }) => ({ echo: input, at: new Date(0), big: 10n, list: new Set([1, 2]) })),
  nothing: any.query(() => undefined),
  write: any.mutation(({ input }) => ({ wrote: input, at: new Date(1000) })),
  fail: any.query(({ input }) => {
    throw new TRPCError({ code: input?.code ?? 'CONFLICT', message: 'it failed \u2028 "so"' });
  }),
  seen: any.query(({ ctx }) => ctx.req.headers),
  params: any.query(({ ctx }) => ctx.info?.connectionParams ?? null),
  signIn: any.mutation(({ ctx }) => {
    ctx.res.append('Set-Cookie', 'theirs=1; Path=/; HttpOnly');
    ctx.res.append('Set-Cookie', 'more=2; Path=/');
    return 'signed in';
  }),
  slow: any.query(async ({ input }) => {
    await pause(input.ms);
    return input.ms;
  }),
  never: any.query(() => new Promise(() => {})),
  die: any.query(() => process.exit(1)),
  count: any.query(async function* ({ input }) {
    for (let n = 0; n < (input?.to ?? 3); n++) {
      yield { n, at: new Date(n) };
    }
  }),
  ticks: any.subscription(async function* ({ input, signal }) {
    const from = Number(input?.lastEventId ?? 0);
    for (let n = from + 1; n <= (input?.to ?? 3); n++) {
      if (signal?.aborted) return;
      yield tracked(String(n), { n, at: new Date(n) });
    }
    if (input?.stay) await new Promise((resolve) => signal.addEventListener('abort', resolve));
  }),
  broken: any.subscription(async function* () {
    yield 1;
    throw new TRPCError({ code: 'FORBIDDEN', message: 'no more' });
  }),
  form: any.mutation(async ({ input }) => {
    const file = input.get('file');
    return { name: input.get('name'), file: file.name, ...(await digest(file.stream())) };
  }),
  bytes: any.mutation(({ input }) => digest(input)),
});
// What modelramp has as well, in the test of moves: every tenth answer is another one.
const both = t.router({
  echo: any.query(({ input }) => ({
    skip: 'the old server',
    bag: [3, 1, 2],
    at: new Date(input.n * 1000),
    nothing: undefined,
    state: input.n % 10 === 3 ? 'changed' : 'same',
    n: input.n,
  })),
  write: any.mutation(({ input }) => ({ by: 'the old server', n: input.n })),
  fragile: any.query(({ input }) => ({ by: 'the old server', n: input.n })),
});
/** Whether the session cookie was signed with the secret that both servers have. */
function session(req) {
  const [, token] = /(?:^|; )app_session_id=([^;]+)/.exec(req.headers.cookie ?? '') ?? [];
  const [head, claims, mark] = token?.split('.') ?? [];
  const secret = process.env.JWT_SECRET;
  if (!secret || !mark) return false;
  return createHmac('sha256', secret).update(`${head}.${claims}`).digest('base64url') === mark;
}
// What the harness of conformance and the front end call, as the original had it, for whoever is signed in or sends
// `Bearer theirs`. The front end sees by `by` who answered.
const signedIn = t.procedure.use(({ ctx, next }) => {
  const params = ctx.info?.connectionParams ?? {};
  const credential = ctx.req.headers.authorization ?? params.Authorization ?? params.authorization;
  if (credential !== 'Bearer theirs' && !session(ctx.req)) throw new TRPCError({ code: 'UNAUTHORIZED', message: 'Please login (10001)' });
  return next();
});
const refuse = (message) => {
  throw new TRPCError({ code: 'BAD_REQUEST', message });
};
const optional = (input) => (input === undefined || (input && typeof input === 'object') ? input : refuse('an object'));
const by = 'the old server';
const summary = () => ({ by, totalRequests: 0, errorRate: 0, modelBreakdown: {}, health: { healthy: true, warnings: [], critical: [] } });
const aiMetrics = t.router({
  getSummary: signedIn.input(optional).query(summary),
  getRolloutStatus: signedIn.query(() => ({ by, currentPercentage: 0, enabled: false })),
  getModelBreakdown: signedIn.query(() => ({ by, models: {}, timestamp: new Date() })),
  checkRolloutHealth: signedIn.query(() => ({ by, healthy: true, warnings: [], critical: [] })),
  logSummary: signedIn.mutation(() => ({ success: true })),
  onSummary: signedIn.input(optional).subscription(async function* ({ signal }) {
    while (!signal?.aborted) {
      yield summary();
      await pause(100);
    }
  }),
});
const system = t.router({
  health: t.procedure
    .input((input) => (typeof input?.timestamp === 'number' && input.timestamp >= 0 ? input : refuse('timestamp')))
    .query(() => ({ by, ok: true })),
  aiConfig: t.procedure.query(() => ({ model: by })),
});
let conversations = 0;
const chat = t.router({
  getConversations: signedIn.query(() => [{ title: by }]),
  createConversation: signedIn.input(optional).mutation(() => ({ id: ++conversations, title: by })),
});
const emailIntelligence = t.router({
  getEmailCategory: signedIn.input(optional).query(() => ({ by })),
  getQuickReplies: signedIn.input(optional).query(() => [by]),
  getBatchIntelligence: signedIn.input(optional).query(() => ({ by })),
});
const auth = t.router({ me: t.procedure.query(({ ctx }) => (session(ctx.req) ? { name: by } : null)) });
const invoices = t.router({ list: signedIn.query(() => [{ by, due: new Date(0) }]) });
const router = t.router({ old, both, aiMetrics, system, chat, emailIntelligence, auth, invoices });

const app = express();
app.disable('x-powered-by');
app.use(
  '/api/trpc',
  createExpressMiddleware({
    router,
    createContext: ({ req, res, info }) => ({ req, res, info }),
    allowMethodOverride: true,
    maxBodySize: 2 ** 31,
  }),
);
app.post('/api/files/upload', async (req, res) => res.json(await digest(req)));
app.get('/api/files/zipped', (_, res) => {
  res.set('content-encoding', 'gzip').type('text/plain').send(gzipSync('zipped '.repeat(1000)));
});
app.get('/api/files/away', (_, res) => res.redirect(302, 'http://elsewhere.example/x'));
app.get('/api/files/cookies', (req, res) => {
  res.append('Set-Cookie', 'a=1; Expires=Thu, 01 Jan 2037 00:00:00 GMT').append('Set-Cookie', 'b=2');
  res.json({ headers: req.headers, url: req.originalUrl });
});
app.get('/api/files/half', (_, res) => {
  res.set('content-length', '100').write('half');
  setImmediate(() => res.destroy());
});
app.all('/api/files/{*rest}', (req, res) => res.json({ method: req.method, url: req.originalUrl }));
if (process.env.FRONT_END) {
  app.get('/app', (_, res) => res.send('<!doctype html><title>the original</title><script src="/app/app.js"></script>'));
  app.get('/app/app.js', (_, res) => res.sendFile(process.env.FRONT_END));
}
app.get('/secret', (_, res) => res.send('secret'));

const server = createServer({ maxHeaderSize: 65536 }, app);
const sockets = new WebSocketServer({ server });
applyWSSHandler({
  wss: sockets,
  router,
  createContext: ({ req, info }) => ({ req, info }),
});
server.listen(Number(process.env.PORT ?? 0), '127.0.0.1', () => {
  console.log(`http://127.0.0.1:${server.address().port}`);
});
process.stdin.on('end', () => process.exit(0)).resume();
