// The names of models as people say them.
import { useQuery } from '@tanstack/react-query';
import type { ModelList } from 'modelramp-schema';
import { server } from './server.ts';

export function useCatalog(): ModelList | undefined {
  return useQuery({ queryKey: ['models.list'], queryFn: () => server.models.list.query(), refetchInterval: 30_000 }).data;
}

/** The display name of a model; its own name where the catalog has none any more. */
export function useModelName(): (name: string | null) => string {
  const catalog = useCatalog();
  return (name) => (name === null ? '–' : (catalog?.models.find((model) => model.name === name)?.displayName ?? name));
}
