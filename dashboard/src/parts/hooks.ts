// Small hooks that several parts share.
import { type RefObject, useEffect, useRef, useState } from 'react';
import { useLive } from '../live.ts';
import { t } from '../texts/index.ts';

/** The width of an element, in CSS pixels: pictures are drawn at that size, so that their text keeps its own. */
export function useWidth<T extends Element>(start: number): [RefObject<T | null>, number] {
  const element = useRef<T>(null);
  const [width, setWidth] = useState(start);
  useEffect(() => {
    if (!element.current) return undefined;
    const observer = new ResizeObserver(([entry]) => {
      if (entry) setWidth(Math.max(200, Math.round(entry.contentRect.width)));
    });
    observer.observe(element.current);
    return () => observer.disconnect();
  }, []);
  return [element, width];
}

/** Asks again when what it tells has moved; `null` while that is not known. What somebody has opened or paged to stays there. */
export function useAnew(moved: string | null, refetch: () => unknown): void {
  const seen = useRef(moved);
  useEffect(() => {
    if (moved === null || moved === seen.current) return;
    const first = seen.current === null;
    seen.current = moved;
    if (!first) void refetch();
  }, [moved, refetch]);
}

/** Draws again every so often, for times that count. */
export function useTick(ms: number): void {
  const [, tick] = useState(0);
  useEffect(() => {
    const timer = setInterval(() => tick((n) => n + 1), ms);
    return () => clearInterval(timer);
  }, [ms]);
}

/** The title of the tab while a page is shown; a state that is old is told as old there too. */
export function useTitle(title: string): void {
  const { connection } = useLive();
  const shown = connection === 'lost' ? `${t.shell.old} · ${title}` : title;
  useEffect(() => {
    document.title = shown;
  }, [shown]);
}
