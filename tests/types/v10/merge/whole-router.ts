// A team's own server of version 10 on the first day: all of its procedures, some of which modelramp has as well.
import { initTRPC } from "@trpc/server";
import superjson from "superjson";

const t = initTRPC.context<{ userId: number | null }>().create({ transformer: superjson });

export const wholeRouter = t.router({
  invoices: t.router({
    list: t.procedure.query(() => [{ id: 1, due: new Date() }]),
    pay: t.procedure
      .input((value: unknown) => value as { id: number })
      .mutation(({ input }) => ({ paid: input.id })),
  }),
  chat: t.router({
    exportAsPdf: t.procedure
      .input((value: unknown) => value as { conversationId: number })
      .query(({ input }) => `${input.conversationId}.pdf`),
    // Here other types than modelramp's, so that it shows whose count.
    getMessages: t.procedure
      .input((value: unknown) => value as { conversation: string })
      .query(() => ["a message"]),
    deleteConversation: t.procedure
      .input((value: unknown) => value as { conversation: string })
      .mutation(() => "deleted"),
  }),
});

export type WholeRouter = typeof wholeRouter;
