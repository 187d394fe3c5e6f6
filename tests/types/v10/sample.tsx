// @trpc/client 10 and its createTRPCReact, over every kind of type.
import { createTRPCProxyClient, createWSClient, httpBatchLink, splitLink, wsLink } from "@trpc/client";
import { createTRPCReact } from "@trpc/react-query";
import type { inferRouterInputs, inferRouterOutputs } from "@trpc/server";
import superjson from "superjson";
import { claim, type Equal } from "../equal";
import type { AppErrorData, AppRouter, Exotic, Folder, Note, NoteInput, Part, Range } from "modelramp-sample/v10";

type In = inferRouterInputs<AppRouter>["sample"];
type Out = inferRouterOutputs<AppRouter>["sample"];

claim<Equal<Out["exotic"], Exotic>>();
claim<Equal<Exotic["at"], Date>>();
claim<Equal<Exotic["byDay"], Map<Date, bigint>>>();
claim<Equal<Folder["folders"][number], Folder>>();
claim<Equal<In["echo"], NoteInput>>();
claim<Equal<Out["echo"], Note>>();
claim<Equal<In["optional"], void | Range | undefined>>();
// @ts-expect-error a claim that does not hold is refused
claim<Equal<Out["exotic"], string>>();

const url = "/api/trpc";
export const client = createTRPCProxyClient<AppRouter>({
  transformer: superjson,
  links: [
    splitLink({
      condition: (op) => op.type === "subscription",
      true: wsLink({ client: createWSClient({ url }) }),
      false: httpBatchLink({ url }),
    }),
  ],
});
// @ts-expect-error dates need the transformer
createTRPCProxyClient<AppRouter>({ links: [httpBatchLink({ url })] });

export async function calls(): Promise<void> {
  const exotic = await client.sample.exotic.query();
  claim<Equal<typeof exotic, Exotic>>();
  await client.sample.optional.query();
  await client.sample.deeper.ping.query();
  await client.sample.nothing.mutate();
  await client.sample.echo.mutate({ authorId: 1, topic: "work", parts: [{ type: "text", text: "hi" }] });
  client.sample.onEvent.subscribe(undefined, {
    onData: (event) => {
      claim<Equal<typeof event.data, Part>>();
    },
  });
  // @ts-expect-error a number is wanted
  await client.sample.optional.query({ limit: "5" });
  // @ts-expect-error optional is not nullable
  await client.sample.optional.query({ limit: null });
  // @ts-expect-error the input is required
  await client.sample.tree.query();
  // @ts-expect-error a query has no `mutate`
  await client.sample.exotic.mutate();
  // @ts-expect-error no such procedure
  await client.sample.nope.query();
}

export const trpc = createTRPCReact<AppRouter>();

export function Component() {
  const exotic = trpc.sample.exotic.useQuery();
  claim<Equal<typeof exotic.data, Exotic | undefined>>();
  const data: AppErrorData | null | undefined = exotic.error?.data;
  const echo = trpc.sample.echo.useMutation();
  echo.mutate({ authorId: 1, topic: "work", parts: [] });
  // @ts-expect-error no such topic
  echo.mutate({ authorId: 1, topic: "gossip", parts: [] });
  // @ts-expect-error a query has no `useMutation`
  trpc.sample.exotic.useMutation();
  return <p title={data?.requestId}>{exotic.data?.at.toISOString()}</p>;
}
