// Who looks, and what they may do. The server decides; a page only leaves out what would be refused.
import { useQuery } from '@tanstack/react-query';
import type { Role } from 'modelramp-schema';
import { server } from './server.ts';

export interface Who {
  id: number;
  name: string;
  role: Role;
}

/** `null` where nobody is signed in; `undefined` while that is asked. */
export function useWho(): Who | null | undefined {
  const { data } = useQuery({
    queryKey: ['who'],
    queryFn: async (): Promise<Who | null> => {
      const me = await server.auth.me.query();
      return me && { id: me.id, name: me.name ?? me.openId, role: me.role };
    },
    staleTime: 60_000,
  });
  return data;
}

export const useMayChange = (): boolean => useWho()?.role === 'admin';
