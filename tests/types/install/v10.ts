// A front end with @trpc/client 10, as somebody writes it who has just run `npm install`.
import { createTRPCProxyClient, httpBatchLink } from "@trpc/client";
import type { inferRouterOutputs } from "@trpc/server";
import superjson from "superjson";
import type { AppRouter } from "modelramp-schema/v10";

/** Compiles only for a type that is not `any`. */
type Known<T> = 0 extends 1 & T ? never : T;
const known = <T>(_: Known<T>): void => {};

export type Out = Known<inferRouterOutputs<AppRouter>["aiMetrics"]["getSummary"]>;

const client = createTRPCProxyClient<AppRouter>({
  transformer: superjson,
  links: [httpBatchLink({ url: "http://localhost:3000/api/trpc" })],
});

export async function calls(title: string | undefined): Promise<void> {
  const { timestamp } = await client.aiMetrics.getModelBreakdown.query();
  known<Date>(timestamp);
  await client.chat.createConversation.mutate({ title });
  // @ts-expect-error no such procedure
  await client.aiMetrics.nope.query();
  // @ts-expect-error a number is wanted
  await client.aiMetrics.getSummary.query({ lastMinutes: "60" });
  // @ts-expect-error the content is required
  await client.chat.sendMessage.mutate({ conversationId: 1 });
  client.aiMetrics.onSummary.subscribe(undefined, {
    onData: (summary) => {
      known<number>(summary.totalRequests);
      // @ts-expect-error no such field
      void summary.nope;
    },
  });
}
