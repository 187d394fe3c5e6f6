// What several pages ask for. A rollout's past is asked again when its version has moved.
import { type UseQueryResult, keepPreviousData, useQuery } from '@tanstack/react-query';
import type { Explanation2, HistoryEntry } from 'modelramp-schema';
import { server } from './server.ts';

export const useHistory = (id: string, version: number): UseQueryResult<HistoryEntry[]> =>
  useQuery({ queryKey: ['rollout.history', id, version], queryFn: () => server.rollout.history.query({ id }), placeholderData: keepPreviousData, staleTime: Infinity });

export const useDecisions = (id: string, version: number): UseQueryResult<Explanation2[]> =>
  useQuery({ queryKey: ['rollout.why', id, version], queryFn: () => server.rollout.why.query({ id }), placeholderData: keepPreviousData, staleTime: Infinity });
