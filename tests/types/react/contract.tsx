// The procedures that a front end knows from the TypeScript server, in its React components.
import { useInfiniteQuery, useMutation, useQuery } from "@tanstack/react-query";
import { createTRPCReact } from "@trpc/react-query";
import { createTRPCContext, useSubscription } from "@trpc/tanstack-react-query";
import { claim, type Equal } from "../equal";
import type { AppRouter } from "modelramp-schema";

export const trpc = createTRPCReact<AppRouter>();

export function Classic({ conversationId }: { conversationId: number }) {
  const summary = trpc.aiMetrics.getSummary.useQuery({ lastMinutes: 60 }, { refetchInterval: 30_000 });
  trpc.aiMetrics.getSummary.useQuery();
  const pages = trpc.chat.getMessages.useInfiniteQuery(
    { conversationId, limit: 20 },
    { getNextPageParam: (page) => page.nextCursor },
  );
  const send = trpc.chat.sendMessage.useMutation({ onSuccess: (message) => message.createdAt.slice(0, 10) });
  send.mutate({ conversationId, content: "Hello", context: { page: "inbox", hasEmails: true } });
  // @ts-expect-error the content is required
  send.mutate({ conversationId });
  // @ts-expect-error a number is wanted
  trpc.aiMetrics.getSummary.useQuery({ lastMinutes: "60" });
  // @ts-expect-error an id is required
  trpc.chat.getMessages.useQuery({});
  trpc.aiMetrics.onSummary.useSubscription({ lastMinutes: 5 }, { onData: (event) => void event });
  const utils = trpc.useUtils();
  void utils.chat.getConversations.invalidate();
  return (
    <p title={summary.error?.data?.requestId}>
      {summary.data?.totalRequests} {pages.data?.pages[0]?.messages[0]?.content}
    </p>
  );
}

export const { TRPCProvider, useTRPC } = createTRPCContext<AppRouter>();

export function New({ conversationId }: { conversationId: number }) {
  const trpc = useTRPC();
  const breakdown = useQuery(trpc.aiMetrics.getModelBreakdown.queryOptions());
  claim<Equal<NonNullable<typeof breakdown.data>["timestamp"], Date>>();
  const pages = useInfiniteQuery(
    trpc.chat.getMessages.infiniteQueryOptions(
      { conversationId, limit: 20 },
      { getNextPageParam: (page) => page.nextCursor },
    ),
  );
  const share = useMutation(trpc.featureFlags.setShare.mutationOptions());
  share.mutate({ percent: 10, reason: "next step" });
  // @ts-expect-error a number is wanted
  share.mutate({ percent: "10", reason: "next step" });
  const live = useSubscription(trpc.aiMetrics.onSummary.subscriptionOptions({ lastMinutes: 5 }));
  // @ts-expect-error the time is required
  useQuery(trpc.system.health.queryOptions());
  // @ts-expect-error no such procedure
  trpc.chat.nope.queryOptions();
  return (
    <p title={live.status}>
      {breakdown.data?.timestamp.toISOString()} {pages.data?.pages.length}
    </p>
  );
}
