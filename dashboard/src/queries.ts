// What several pages ask for. A rollout's past is asked again when its version has moved.
import { type UseQueryResult, keepPreviousData, useQuery } from '@tanstack/react-query';
import type { Explanation2, HistoryEntry } from 'modelramp-schema';
import { server } from './server.ts';

/** The newest of what was done to a rollout, oldest first. */
export const useHistory = (id: string, version: number, limit = 1000): UseQueryResult<HistoryEntry[]> =>
  useQuery({ queryKey: ['rollout.history', id, version, limit], queryFn: () => server.rollout.history.query({ id, limit }), placeholderData: keepPreviousData, staleTime: Infinity });

export const useDecisions = (id: string, version: number, limit = 1000): UseQueryResult<Explanation2[]> =>
  useQuery({ queryKey: ['rollout.why', id, version, limit], queryFn: () => server.rollout.why.query({ id, limit }), placeholderData: keepPreviousData, staleTime: Infinity });
