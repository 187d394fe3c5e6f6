// A team's own server on the first day: all of its procedures, some of which modelramp has as well.
import { initTRPC } from "@trpc/server";
import superjson from "superjson";
import { teamRouter } from "./team-router";

const t = initTRPC.context<{ userId: number | null }>().create({ transformer: superjson });

export const wholeRouter = t.router({
  invoices: teamRouter.invoices,
  chat: t.router({
    exportAsPdf: teamRouter.chat.exportAsPdf,
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
