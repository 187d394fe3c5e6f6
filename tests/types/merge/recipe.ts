// docs/merging-routers.md explains this file.
import { createTRPCClient, httpBatchLink, isTRPCClientError, splitLink } from "@trpc/client";
import type { inferRouterOutputs, TRPCBuiltRouter } from "@trpc/server";
import superjson from "superjson";
import type { AppRouter as Modelramp } from "modelramp-schema";
import contract from "modelramp-schema/procedures.json";
import { claim, type Equal } from "../equal";
import type { TeamRouter } from "./team-router";

/** Modelramp's procedures and the team's own, under the names they had on the one server. */
export type AppRouter = TRPCBuiltRouter<
  Modelramp["_def"]["_config"]["$types"],
  Modelramp["_def"]["record"] & TeamRouter["_def"]["record"]
>;

/** Fails to compile if a procedure is on both servers. */
type Paths<Record, Prefix extends string = ""> = {
  [Key in keyof Record & string]: Record[Key] extends { _def: { procedure: true } }
    ? `${Prefix}${Key}`
    : Paths<Record[Key], `${Prefix}${Key}.`>;
}[keyof Record & string];
type OnBoth<A, B> = Paths<A> & Paths<B>;
claim<Equal<OnBoth<Modelramp["_def"]["record"], TeamRouter["_def"]["record"]>, never>>();
// @ts-expect-error and notices one that is
claim<Equal<OnBoth<Modelramp["_def"]["record"], Pick<Modelramp["_def"]["record"], "system">>, never>>();

const onModelramp = new Set(Object.keys(contract.procedures));

export const client = createTRPCClient<AppRouter>({
  links: [
    splitLink({
      condition: (op) => onModelramp.has(op.path),
      true: httpBatchLink({ url: "https://ai.example.com/api/trpc", transformer: superjson }),
      false: httpBatchLink({ url: "/api/trpc", transformer: superjson }),
    }),
  ],
});

type Out = inferRouterOutputs<AppRouter>;
claim<Equal<Out["aiMetrics"]["getModelBreakdown"]["timestamp"], Date>>();
claim<Equal<Out["invoices"]["list"], { id: number; due: Date }[]>>();
claim<Equal<Out["chat"]["exportAsPdf"], string>>();
claim<Equal<Out["chat"]["getMessages"]["messages"][number]["createdAt"], string>>();
// @ts-expect-error a date is no text
claim<Equal<Out["invoices"]["list"][number]["due"], string>>();

export async function calls(): Promise<void> {
  await client.chat.sendMessage.mutate({ conversationId: 1, content: "Hello" });
  await client.chat.exportAsPdf.query({ conversationId: 1 });
  await client.invoices.pay.mutate({ id: 1 }).catch((error: unknown) => {
    if (isTRPCClientError<AppRouter>(error)) error.data?.requestId.length;
  });
  // @ts-expect-error a number is wanted, on this side
  await client.chat.exportAsPdf.query({ conversationId: "1" });
  // @ts-expect-error and on that
  await client.chat.getMessages.query({ conversationId: "1" });
  // @ts-expect-error on neither
  await client.invoices.nope.query();
}
