// What is left of a team's own server, in the shape that such files have.
import { initTRPC } from "@trpc/server";
import superjson from "superjson";

const t = initTRPC.context<{ userId: number | null }>().create({ transformer: superjson });

export const teamRouter = t.router({
  invoices: t.router({
    list: t.procedure.query(() => [{ id: 1, due: new Date() }]),
    pay: t.procedure
      .input((value: unknown) => value as { id: number })
      .mutation(({ input }) => ({ paid: input.id })),
  }),
  // A namespace may be split between the two servers, as long as no procedure is on both.
  chat: t.router({
    exportAsPdf: t.procedure
      .input((value: unknown) => value as { conversationId: number })
      .query(({ input }) => `${input.conversationId}.pdf`),
  }),
});

export type TeamRouter = typeof teamRouter;
