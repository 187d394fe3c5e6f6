// Who looks, and what they may do. The server decides; a page only leaves out what would be refused.
import { useQuery } from '@tanstack/react-query';
import type { Role } from 'modelramp-schema';
import { server } from './server.ts';

export interface Who {
  id: number;
  name: string;
  role: Role;
}

/** Between two tries to learn it. */
const AGAIN_MS = 2000;

/** `null` where nobody is signed in; `undefined` while that is asked. */
export function useWho(): Who | null | undefined {
  const { data } = useQuery({
    queryKey: ['who'],
    queryFn: async (): Promise<Who | null> => {
      const me = await server.auth.me.query();
      return me && { id: me.id, name: me.name ?? me.openId, role: me.role };
    },
    // Whoever signs in elsewhere comes back to a page that waits for it.
    staleTime: ({ state }) => (state.data === null ? 0 : 60_000),
    // Nothing of a page goes on before this is known, so a server that is away, or has no database, is asked until it tells.
    refetchInterval: ({ state }) => (state.data === undefined && state.status === 'error' ? AGAIN_MS : false),
    refetchIntervalInBackground: true,
  });
  return data;
}

/** Whether a sign-in service is set up, where people sign in without a link. */
export function useService(): boolean {
  const { data } = useQuery({ queryKey: ['ways'], queryFn: () => fetch('/api/auth/ways').then((response) => response.json() as Promise<{ oidc: boolean }>), staleTime: Infinity });
  return data?.oidc ?? false;
}

/** Where the sign-in service is asked, and the page of the dashboard that it leads back to. */
export const serviceLink = (next: string): string => `/api/auth/oidc/start?next=${encodeURIComponent(`/dashboard${next}`)}`;

export const useMayChange = (): boolean => useWho()?.role === 'admin';
