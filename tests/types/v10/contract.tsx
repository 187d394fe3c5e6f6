// The procedures that a front end knows from the TypeScript server, with tRPC 10.
import { createTRPCProxyClient, httpBatchLink, httpLink, splitLink } from "@trpc/client";
import { createTRPCReact } from "@trpc/react-query";
import type { inferRouterOutputs } from "@trpc/server";
import superjson from "superjson";
import { claim, type Equal } from "../equal";
import type { AppRouter } from "modelramp-schema/v10";

type Out = inferRouterOutputs<AppRouter>;
claim<Equal<Out["aiMetrics"]["getModelBreakdown"]["timestamp"], Date>>();
claim<Equal<Out["chat"]["getMessages"]["messages"][number]["createdAt"], string>>();

const url = "/api/trpc";
export const client = createTRPCProxyClient<AppRouter>({
  transformer: superjson,
  links: [
    splitLink({
      condition: (op) => op.context["skipBatch"] === true,
      true: httpLink({ url }),
      false: httpBatchLink({ url }),
    }),
  ],
});

export async function calls(): Promise<void> {
  await client.aiMetrics.getSummary.query();
  await client.system.health.query({ timestamp: Date.now() });
  await client.chat.sendMessage.mutate({ conversationId: 1, content: "Hello" });
  await client.featureFlags.setShare.mutate({ percent: 10, reason: "next step" });
  // @ts-expect-error a number is wanted
  await client.aiMetrics.getSummary.query({ lastMinutes: "60" });
  // @ts-expect-error the time is required
  await client.system.health.query();
  // @ts-expect-error a mutation has no `query`
  await client.chat.sendMessage.query({ conversationId: 1, content: "x" });
}

export const trpc = createTRPCReact<AppRouter>();

export function Component() {
  const summary = trpc.aiMetrics.getSummary.useQuery({ lastMinutes: 60 });
  const pages = trpc.chat.getMessages.useInfiniteQuery(
    { conversationId: 1, limit: 20 },
    { getNextPageParam: (page) => page.nextCursor },
  );
  const send = trpc.chat.sendMessage.useMutation();
  // @ts-expect-error the content is required
  send.mutate({ conversationId: 1 });
  return (
    <p>
      {summary.data?.totalRequests} {pages.data?.pages[0]?.messages[0]?.content}
    </p>
  );
}
