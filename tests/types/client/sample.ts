// Every kind of type that a contract can hold, as @trpc/client 11 sees it.
import {
  createTRPCClient,
  createWSClient,
  httpBatchLink,
  httpBatchStreamLink,
  httpLink,
  httpSubscriptionLink,
  isNonJsonSerializable,
  isTRPCClientError,
  splitLink,
  wsLink,
} from "@trpc/client";
import type { inferRouterInputs, inferRouterOutputs } from "@trpc/server";
import superjson from "superjson";
import { claim, type Equal } from "../equal";
import type { AppErrorCode, AppErrorShape, AppRouter, Exotic, Folder, Note, NoteInput, Part, Range, Topic } from "modelramp-sample";

type In = inferRouterInputs<AppRouter>["sample"];
type Out = inferRouterOutputs<AppRouter>["sample"];

claim<Equal<Out["exotic"], Exotic>>();
claim<Equal<Exotic["at"], Date>>();
claim<Equal<Exotic["never"], Date | null>>();
claim<Equal<Exotic["big"], bigint>>();
claim<Equal<Exotic["ratios"], number[]>>();
claim<Equal<Exotic["missing"], string | undefined>>();
claim<Equal<Exotic["days"], Set<Date>>>();
claim<Equal<Exotic["byDay"], Map<Date, bigint>>>();
claim<Equal<Exotic["byName"], Record<string, Date>>>();
claim<Equal<Exotic["pair"], [string, Date]>>();
claim<Equal<Exotic["either"], number | Date[]>>();
claim<Equal<Exotic["not-a-name"], boolean>>();
claim<Equal<Exotic["anything"], unknown>>();
claim<Equal<Topic, "small-talk" | "work">>();
claim<Equal<Folder["folders"][number]["folders"], Folder[]>>();

// One type, two sides: what has a default may be left out, and is always there in the answer.
claim<Equal<In["echo"], NoteInput>>();
claim<Equal<Out["echo"], Note>>();
claim<Equal<NoteInput["pinned"], boolean | undefined>>();
claim<Equal<Note["pinned"], boolean>>();
claim<Equal<NoteInput["replyTo"], number | undefined>>();
claim<Equal<Note["replyTo"], number | null>>();
claim<Equal<Note["due"], Date | undefined>>();

claim<Equal<In["optional"], void | Range | undefined>>();
claim<Equal<In["nothing"], void>>();
claim<Equal<In["upload"], FormData>>();
claim<Equal<In["store"], Blob | Uint8Array>>();
// @ts-expect-error a claim that does not hold is refused
claim<Equal<Out["exotic"], string>>();
// @ts-expect-error nor does `any` slip through
claim<Equal<any, Exotic>>();

const url = "/api/trpc";
export const client = createTRPCClient<AppRouter>({
  links: [
    splitLink({
      condition: (op) => op.type === "subscription",
      true: httpSubscriptionLink({ url, transformer: superjson }),
      false: splitLink({
        condition: (op) => isNonJsonSerializable(op.input),
        true: httpLink({ url, transformer: superjson }),
        false: httpBatchLink({ url, transformer: superjson, methodOverride: "POST" }),
      }),
    }),
  ],
});
createTRPCClient<AppRouter>({ links: [httpBatchStreamLink({ url, transformer: superjson })] });
createTRPCClient<AppRouter>({ links: [wsLink({ client: createWSClient({ url }), transformer: superjson })] });
// @ts-expect-error dates need the transformer
createTRPCClient<AppRouter>({ links: [httpBatchLink({ url })] });

export async function calls(): Promise<void> {
  const exotic = await client.sample.exotic.query();
  claim<Equal<typeof exotic, Exotic>>();
  exotic.days.has(exotic.at);
  exotic.byDay.get(exotic.at)?.toString(16);
  await client.sample.optional.query();
  await client.sample.optional.query(undefined);
  await client.sample.optional.query({ limit: undefined, since: new Date() });
  await client.sample.deeper.ping.query();
  await client.sample.nothing.mutate();
  await client.sample.upload.mutate(new FormData());
  await client.sample.store.mutate(new Uint8Array());
  await client.sample.tree.query({ name: "a", changed: new Date(), folders: [] });
  const note = await client.sample.echo.mutate({
    authorId: 1,
    topic: "small-talk",
    tags: new Set(["a"]),
    parts: [
      { type: "text", text: "hi" },
      { type: "image", url: "u", taken: new Date() },
    ],
  });
  for (const part of note.parts) {
    if (part.type === "image") part.taken.toISOString();
    // @ts-expect-error a text has no date
    else part.taken;
  }

  // @ts-expect-error a number is wanted
  await client.sample.optional.query({ limit: "5" });
  // @ts-expect-error a Date is wanted, not its text
  await client.sample.optional.query({ since: "2026-01-02" });
  // @ts-expect-error optional is not nullable
  await client.sample.optional.query({ limit: null });
  // @ts-expect-error no such field
  await client.sample.optional.query({ nope: 1 });
  // @ts-expect-error no such option
  await client.sample.echo.mutate({ authorId: 1, topic: "gossip", parts: [] });
  // @ts-expect-error a required field is missing
  await client.sample.echo.mutate({ topic: "work", parts: [] });
  // @ts-expect-error that branch has no such field
  await client.sample.echo.mutate({ authorId: 1, topic: "work", parts: [{ type: "text", url: "u" }] });
  // @ts-expect-error a Set is wanted, not a list
  await client.sample.echo.mutate({ authorId: 1, topic: "work", parts: [], tags: ["a"] });
  // @ts-expect-error the input is required
  await client.sample.tree.query();
  // @ts-expect-error it takes none
  await client.sample.exotic.query({});
  // @ts-expect-error a query has no `mutate`
  await client.sample.exotic.mutate();
  // @ts-expect-error a mutation has no `query`
  await client.sample.echo.query();
  // @ts-expect-error no such procedure
  await client.sample.nope.query();
  // @ts-expect-error no such namespace
  await client.nope.ping.query();
  // @ts-expect-error a form is wanted
  await client.sample.upload.mutate({ file: "x" });
}

export function events(): void {
  client.sample.onEvent.subscribe(
    { since: new Date() },
    {
      onData: (event) => {
        claim<Equal<typeof event.data, Part>>();
        claim<Equal<typeof event.id, string>>();
      },
      onError: (error) => {
        claim<Equal<typeof error.shape, AppErrorShape | null | undefined>>();
      },
    },
  );
  client.sample.onEvent.subscribe(undefined, {
    // @ts-expect-error the data is inside the tracked event
    onData: (event) => event.type,
  });
}

export async function errors(): Promise<void> {
  try {
    await client.sample.exotic.query();
  } catch (error) {
    if (isTRPCClientError<AppRouter>(error)) {
      const code: AppErrorCode | undefined = error.data?.code;
      const id: string | undefined = error.data?.requestId;
      const status: number | undefined = error.data?.httpStatus;
      if (error.data?.code === "RATE_LIMIT_EXCEEDED") new Date(error.data.retryAfter ?? 0);
      // @ts-expect-error no such code
      if (error.data?.code === "NOPE") return;
      return void [code, id, status];
    }
  }
}
