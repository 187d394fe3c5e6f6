// createTRPCReact and @trpc/tanstack-react-query, over every kind of type.
import { QueryClient, useMutation, useQuery } from "@tanstack/react-query";
import { createTRPCClient, httpBatchLink } from "@trpc/client";
import { createTRPCReact } from "@trpc/react-query";
import { createTRPCContext, createTRPCOptionsProxy, useSubscription } from "@trpc/tanstack-react-query";
import superjson from "superjson";
import { claim, type Equal } from "../equal";
import type { AppErrorData, AppRouter, Exotic, Note, Part } from "modelramp-sample";

export const trpc = createTRPCReact<AppRouter>();
export const classicClient = trpc.createClient({ links: [httpBatchLink({ url: "/api/trpc", transformer: superjson })] });
// @ts-expect-error dates need the transformer
trpc.createClient({ links: [httpBatchLink({ url: "/api/trpc" })] });

export function Classic() {
  const exotic = trpc.sample.exotic.useQuery();
  claim<Equal<typeof exotic.data, Exotic | undefined>>();
  const data: AppErrorData | null | undefined = exotic.error?.data;
  const echo = trpc.sample.echo.useMutation();
  claim<Equal<typeof echo.data, Note | undefined>>();
  echo.mutate({ authorId: 1, topic: "work", parts: [], due: new Date() });
  // @ts-expect-error an id is a number
  echo.mutate({ authorId: "1", topic: "work", parts: [] });
  trpc.sample.onEvent.useSubscription(undefined, {
    onData: (event) => {
      claim<Equal<typeof event.data, Part>>();
    },
  });
  trpc.sample.optional.useQuery(undefined, { staleTime: 1000 });
  // @ts-expect-error a number is wanted
  trpc.sample.optional.useQuery({ limit: "5" });
  // @ts-expect-error a query has no `useMutation`
  trpc.sample.exotic.useMutation();
  const utils = trpc.useUtils();
  void utils.sample.exotic.invalidate();
  utils.sample.deeper.ping.setData(undefined, null);
  // @ts-expect-error data of another type
  utils.sample.exotic.setData(undefined, 5);
  return <p title={data?.requestId}>{exotic.data?.at.toISOString()}</p>;
}

export const { TRPCProvider, useTRPC } = createTRPCContext<AppRouter>();
export const proxy = createTRPCOptionsProxy<AppRouter>({
  client: createTRPCClient<AppRouter>({ links: [httpBatchLink({ url: "/api/trpc", transformer: superjson })] }),
  queryClient: new QueryClient(),
});

export function New() {
  const trpc = useTRPC();
  const exotic = useQuery(trpc.sample.exotic.queryOptions());
  claim<Equal<typeof exotic.data, Exotic | undefined>>();
  const id: string | undefined = exotic.error?.data?.requestId;
  const echo = useMutation(trpc.sample.echo.mutationOptions());
  echo.mutate({ authorId: 1, topic: "small-talk", parts: [] });
  // @ts-expect-error no such topic
  echo.mutate({ authorId: 1, topic: "gossip", parts: [] });
  const events = useSubscription(
    trpc.sample.onEvent.subscriptionOptions(
      { limit: 5 },
      {
        onData: (event) => {
          claim<Equal<typeof event.data, Part>>();
        },
      },
    ),
  );
  // @ts-expect-error a Date is wanted, not its text
  useQuery(trpc.sample.optional.queryOptions({ since: "2026-01-02" }));
  // @ts-expect-error a mutation has no `queryOptions`
  trpc.sample.echo.queryOptions();
  return <p title={id}>{events.status}</p>;
}
