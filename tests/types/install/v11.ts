// A front end with @trpc/client 11, as somebody writes it who has just run `npm install`.
import { createTRPCClient, httpBatchLink, TRPCClientError } from "@trpc/client";
import type { inferRouterInputs, inferRouterOutputs } from "@trpc/server";
import superjson from "superjson";
import type { AppErrorData, AppRouter } from "modelramp-schema";

/** Compiles only for a type that is not `any`. */
type Known<T> = 0 extends 1 & T ? never : T;
const known = <T>(_: Known<T>): void => {};

type In = inferRouterInputs<AppRouter>;
type Out = inferRouterOutputs<AppRouter>;
export type Title = Known<In["chat"]["createConversation"]>;

const client = createTRPCClient<AppRouter>({
  links: [
    httpBatchLink({
      url: "http://localhost:3000/api/trpc",
      transformer: superjson,
      headers: { authorization: "Bearer token" },
    }),
  ],
});

export async function calls(title: string | undefined): Promise<void> {
  const { timestamp } = await client.aiMetrics.getModelBreakdown.query();
  known<Date>(timestamp);
  timestamp.toISOString();
  // What may be left out may also be undefined, with exactOptionalPropertyTypes, too.
  await client.chat.createConversation.mutate({ title });
  const summary: Out["aiMetrics"]["getSummary"] = await client.aiMetrics.getSummary.query({ lastMinutes: 5 });
  // @ts-expect-error no such field
  void summary.nope;
  // @ts-expect-error no such procedure
  await client.aiMetrics.nope.query();
  // @ts-expect-error no such namespace
  await client.nope.getSummary.query();
  // @ts-expect-error a number is wanted
  await client.aiMetrics.getSummary.query({ lastMinutes: "60" });
  // @ts-expect-error the content is required
  await client.chat.sendMessage.mutate({ conversationId: 1 });
  // @ts-expect-error a Date has no such method
  timestamp.nope();
}

export function problem(error: unknown): string {
  if (!(error instanceof TRPCClientError)) return "a bug";
  const data: AppErrorData | undefined | null = (error as TRPCClientError<AppRouter>).data;
  if (!data) return "offline";
  if (data.code === "PRECONDITION_FAILED" && data.details && "current" in data.details) {
    // The details of this code, with dates that are dates.
    known<Date>(data.details.current.startedAt);
    // @ts-expect-error no such detail
    void data.details.nope;
  }
  // @ts-expect-error that code has no details
  if (data.code === "UNAUTHORIZED") void data.details.current;
  // @ts-expect-error no such code
  if (data.code === "NOPE") return "";
  return data.requestId;
}
