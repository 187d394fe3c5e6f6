// A front end of version 10 with the type that `modelramp types merge --trpc 10` wrote: modelramp answers `chat.getMessages`,
// and the old server still `chat.deleteConversation`, which both have.
import { createTRPCProxyClient, httpBatchLink } from "@trpc/client";
import { createTRPCReact } from "@trpc/react-query";
import type { inferRouterInputs, inferRouterOutputs } from "@trpc/server";
import superjson from "superjson";
import { claim, type Equal } from "../../equal";
import type { AppRouter } from "./app-router";

const client = createTRPCProxyClient<AppRouter>({
  transformer: superjson,
  links: [httpBatchLink({ url: "/api/trpc" })],
});
export const trpc = createTRPCReact<AppRouter>();

type In = inferRouterInputs<AppRouter>;
type Out = inferRouterOutputs<AppRouter>;
claim<Equal<Out["aiMetrics"]["getModelBreakdown"]["timestamp"], Date>>();
claim<Equal<Out["invoices"]["list"], { id: number; due: Date }[]>>();
claim<Equal<Out["chat"]["exportAsPdf"], string>>();
claim<Equal<Out["chat"]["getMessages"]["messages"][number]["createdAt"], string>>();
claim<Equal<Out["chat"]["deleteConversation"], string>>();
claim<Equal<In["chat"]["deleteConversation"], { conversation: string }>>();

export async function calls(): Promise<void> {
  await client.chat.getMessages.query({ conversationId: 1 });
  await client.chat.deleteConversation.mutate({ conversation: "1" });
  await client.invoices.pay.mutate({ id: 1 });
  await client.admin.users.list.query({ limit: 5 });
  // @ts-expect-error the team's, which no longer answers it
  await client.chat.getMessages.query({ conversation: "1" });
  // @ts-expect-error modelramp's, which does not answer it yet
  await client.chat.deleteConversation.mutate({ conversationId: 1 });
  // @ts-expect-error on neither
  await client.invoices.nope.query();
}
