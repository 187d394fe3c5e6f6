// The comparison: @trpc/server on Node with the same procedures, superjson, a session check and no database.
// Usage: node server.mjs PORT BODY_FILE, where BODY_FILE holds modelramp's own answer to aiMetrics.getSummary.
import { readFileSync } from 'node:fs';
import { createHTTPServer } from '@trpc/server/adapters/standalone';
import { initTRPC, TRPCError } from '@trpc/server';
import superjson from 'superjson';
import { z } from 'zod';

const [port, bodyFile] = process.argv.slice(2);
const summary = superjson.deserialize(JSON.parse(readFileSync(bodyFile, 'utf8')).result.data);
const t = initTRPC.context().create({ transformer: superjson, isDev: false });
const signedIn = t.procedure.use(({ ctx, next }) => {
  if (!ctx.authorization?.startsWith('Bearer ')) throw new TRPCError({ code: 'UNAUTHORIZED' });
  return next();
});
const router = t.router({
  aiMetrics: t.router({
    getSummary: signedIn
      .input(z.object({ lastMinutes: z.number().min(1).max(10080).default(60) }).optional())
      .query(() => summary),
    onSummary: signedIn.subscription(async function* ({ signal }) {
      while (!signal.aborted) {
        yield summary;
        await new Promise((resolve) => setTimeout(resolve, 1000));
      }
    }),
  }),
});
createHTTPServer({
  router,
  basePath: '/api/trpc/',
  createContext: ({ req }) => ({ authorization: req.headers.authorization }),
}).listen(Number(port), '127.0.0.1');
