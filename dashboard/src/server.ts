// The way to the server: the generated types, the real tRPC client, and what its errors say.
import { TRPCClientError, createTRPCClient, httpBatchLink, httpLink, httpSubscriptionLink, retryLink, splitLink } from '@trpc/client';
import type { AppErrorData, AppRouter } from 'modelramp-schema';
import superjson from 'superjson';

// This server itself, whatever an old server before it answers still.
const url = '/api/trpc?side=native';

/** The server's clock less this browser's steady one, in milliseconds; `null` before the first answer. */
let ahead: number | null = null;

/** What time it is at the server; this browser's clock only before anything was heard. */
export const serverNow = (): Date => new Date(ahead === null ? Date.now() : ahead + performance.now());

/** Takes a moment that the server told just now. */
export function heard(at: Date, precisionMs = 0): void {
  const told = at.getTime() - performance.now();
  if (ahead === null || precisionMs === 0 || Math.abs(told - ahead) > precisionMs + 500) ahead = told + precisionMs / 2;
}

/** How far this browser's clock is from the server's, in milliseconds. */
export const clockError = (): number => Date.now() - serverNow().getTime();

/** What `auth.session` told of the session, where no cookie does; asked once. */
let sessionToken: Promise<string | null> | null = null;

/** The token that only a page of this origin can read; the server demands it where it is set so. A session that is older than
 * that setting has no cookie for it, and one that a proxy names never has. */
export async function csrf(): Promise<Record<string, string>> {
  const cookie = document.cookie.split('; ').find((part) => part.startsWith('__csrf_token='))?.slice('__csrf_token='.length);
  sessionToken ??= cookie ? null : server.auth.session.query().then((session) => session.csrf, () => null);
  const token = cookie ? decodeURIComponent(cookie) : await sessionToken;
  if (token === null) sessionToken = null;
  return token ? { 'x-csrf-token': token } : {};
}

const asked: typeof fetch = async (input, init) => {
  const response = await fetch(input, init);
  const date = response.headers.get('date');
  // A header tells whole seconds.
  if (date) heard(new Date(date), 1000);
  return response;
};

export const server = createTRPCClient<AppRouter>({
  links: [
    splitLink({
      condition: (operation) => operation.type === 'subscription',
      // An event stream that met one 502 would stay closed.
      true: [
        retryLink({ retry: ({ attempts, error }) => attempts < 1000 && codeOf(error) === undefined, retryDelayMs: (attempt) => Math.min(500 * attempt, 3000) }),
        httpSubscriptionLink({ url, transformer: superjson }),
      ],
      false: [
        splitLink({
          condition: (operation) => operation.type === 'mutation',
          true: [httpLink({ url, transformer: superjson, headers: csrf, fetch: asked })],
          false: [httpBatchLink({ url, transformer: superjson, fetch: asked })],
        }),
      ],
    }),
  ],
});

/** What the server said of an error; `undefined` where it was not the server that spoke. */
export function told(error: unknown): AppErrorData | undefined {
  return error instanceof TRPCClientError ? ((error.data ?? undefined) as AppErrorData | undefined) : undefined;
}

export const codeOf = (error: unknown): AppErrorData['code'] | undefined => told(error)?.code;

/** For people: the server's words, or that it could not be reached. */
export function words(error: unknown): string | undefined {
  return told(error) && error instanceof Error ? error.message : undefined;
}

/** The line for a terminal that asks the same. */
export function curl(procedure: string, input?: unknown): string {
  // The line is quoted for a shell, and an apostrophe is the one character of a quote that an address may have.
  const query = input === undefined ? '' : `?input=${encodeURIComponent(JSON.stringify({ json: input })).replaceAll("'", '%27')}`;
  return `curl -H "Authorization: Bearer $MODELRAMP_TOKEN" '${location.origin}/api/trpc/${procedure}${query}'`;
}
