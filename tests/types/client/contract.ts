// The procedures that a front end knows from the TypeScript server, as @trpc/client 11 sees them.
import { createTRPCClient, httpBatchLink, httpLink, splitLink, isTRPCClientError } from "@trpc/client";
import type { inferRouterInputs, inferRouterOutputs } from "@trpc/server";
import superjson from "superjson";
import { claim, type Equal } from "../equal.js";
import type { AppRouter } from "modelramp-schema";

type In = inferRouterInputs<AppRouter>;
type Out = inferRouterOutputs<AppRouter>;

claim<Equal<Out["aiMetrics"]["getModelBreakdown"]["timestamp"], Date>>();
claim<Equal<Out["aiMetrics"]["getSummary"]["totalRequests"], number>>();
claim<Equal<Out["aiMetrics"]["getSummary"]["health"]["healthy"], boolean>>();
claim<Equal<Out["aiMetrics"]["getSummary"]["health"]["warnings"], string[]>>();
claim<Equal<Out["aiMetrics"]["getRolloutStatus"]["currentPercentage"], number>>();
claim<Equal<Out["aiMetrics"]["checkRolloutHealth"]["canProceed"], boolean>>();
claim<Equal<Out["chat"]["getMessages"]["messages"][number]["createdAt"], string>>();
claim<Equal<Out["chat"]["getMessages"]["nextCursor"], number | undefined>>();
claim<Equal<Out["chat"]["sendMessage"]["role"], "user" | "assistant" | "system">>();
claim<Equal<Out["chat"]["getConversations"][number]["title"], string | null>>();
claim<Equal<Out["system"]["health"]["ok"], boolean>>();
// "viewer" is ours: a user of whom an admin said so (docs/compatibility.md, C58).
claim<Equal<NonNullable<Out["auth"]["me"]>["role"], "user" | "viewer" | "admin">>();
claim<Equal<In["chat"]["createConversation"], void | { title?: string } | undefined> extends never ? false : true>();
// @ts-expect-error a date is no text
claim<Equal<Out["aiMetrics"]["getModelBreakdown"]["timestamp"], string>>();

const url = "/api/trpc";
const options = {
  url,
  transformer: superjson,
  fetch: (input: URL | RequestInfo, init?: RequestInit) => fetch(input, { ...init, credentials: "include" }),
};
export const client = createTRPCClient<AppRouter>({
  links: [
    splitLink({
      condition: (op) => op.context["skipBatch"] === true,
      true: httpLink(options),
      false: httpBatchLink(options),
    }),
  ],
});
// @ts-expect-error dates need the transformer
createTRPCClient<AppRouter>({ links: [httpLink({ url })] });

export async function calls(): Promise<void> {
  await client.system.health.query({ timestamp: Date.now() });
  await client.aiMetrics.getSummary.query();
  await client.aiMetrics.getSummary.query({ lastMinutes: 60 }, { signal: new AbortController().signal });
  await client.aiMetrics.logSummary.mutate();
  const { models, timestamp } = await client.aiMetrics.getModelBreakdown.query();
  for (const [id, model] of Object.entries(models)) void [id.length, model.requests.toFixed(), model.errorRate.toFixed()];
  timestamp.toISOString();
  const conversation = await client.chat.createConversation.mutate({ title: "New" });
  await client.chat.sendMessage.mutate({ conversationId: conversation.id, content: "Hello" });
  await client.chat.getMessages.query({ conversationId: conversation.id, limit: 20, cursor: 20 });
  await client.chat.deleteConversation.mutate({ conversationId: conversation.id });
  await client.featureFlags.get.query();
  await client.featureFlags.setShare.mutate({ percent: 12.5, reason: "next step" });
  await client.featureFlags.kill.mutate({ on: true, reason: "errors" });
  await client.auth.logout.mutate();

  // @ts-expect-error the time is required
  await client.system.health.query();
  // @ts-expect-error a number is wanted
  await client.aiMetrics.getSummary.query({ lastMinutes: "60" });
  // @ts-expect-error optional is not nullable
  await client.aiMetrics.getSummary.query({ lastMinutes: null });
  // @ts-expect-error the content is required
  await client.chat.sendMessage.mutate({ conversationId: 1 });
  // @ts-expect-error ids are numbers
  await client.chat.getMessages.query({ conversationId: "1" });
  // @ts-expect-error a mutation has no `query`
  await client.chat.sendMessage.query({ conversationId: 1, content: "x" });
  // @ts-expect-error a change has a reason
  await client.featureFlags.setShare.mutate({ percent: 10 });
  // @ts-expect-error a switch is on or off
  await client.featureFlags.kill.mutate({ on: "yes", reason: "x" });
}

export function events(): void {
  client.aiMetrics.onSummary.subscribe({ lastMinutes: 5 }, { onData: (event) => void event });
  client.aiMetrics.onSummary.subscribe(undefined, {});
  // @ts-expect-error a number is wanted
  client.aiMetrics.onSummary.subscribe({ lastMinutes: "5" }, {});
}

export function message(error: unknown): string {
  if (!isTRPCClientError<AppRouter>(error)) return "offline";
  const retry = error.data?.retryAfter ? ` until ${error.data.retryAfter}` : "";
  return `${error.message} (${error.data?.requestId})${retry}`;
}
