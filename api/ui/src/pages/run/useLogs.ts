import { useEffect, useRef, useState } from "react";
import { ask, query, runPath } from "../../api/client";
import type { LogList } from "../../api/types";
import { type NumberedLine, withLines } from "../../lib/logs";

const EVERY_MS = 1000;
const TAIL = 500;

interface Wanted {
  id: string;
  worker: string;
  q: string;
  /** Ask for what came since, again and again. */
  follow: boolean;
  attempt: number;
}

/** The newest lines and, while it follows, what comes. */
export function useLogs({ id, worker, q, follow, attempt }: Wanted) {
  const [lines, setLines] = useState<NumberedLine[]>([]);
  const [error, setError] = useState<unknown>(null);
  const cursor = useRef<string | null>(null);

  useEffect(() => {
    const stop = new AbortController();
    cursor.current = null;
    setLines([]);
    setError(null);
    void read(id, { worker, q, tail: TAIL }, stop.signal).then(
      (answer) => {
        cursor.current = answer.next;
        setLines(withLines([], answer.lines));
      },
      (refusal) => !stop.signal.aborted && setError(refusal),
    );
    return () => stop.abort();
  }, [id, worker, q, attempt]);

  useEffect(() => {
    if (!follow) return;
    const stop = new AbortController();
    let timer: ReturnType<typeof setTimeout>;
    const next = async () => {
      const since = cursor.current;
      if (since !== null && !document.hidden) {
        try {
          const answer = await read(id, { worker, q, since, tail: TAIL }, stop.signal);
          if (stop.signal.aborted) return;
          cursor.current = answer.next;
          setLines((known) => withLines(known, answer.lines));
        } catch {
          // Whoever serves it is away; the banner says so, and the next turn asks again.
        }
      }
      if (!stop.signal.aborted) timer = setTimeout(next, EVERY_MS);
    };
    timer = setTimeout(next, EVERY_MS);
    return () => {
      stop.abort();
      clearTimeout(timer);
    };
  }, [id, worker, q, follow, attempt]);
  return { lines, error };
}

function read(id: string, asked: Record<string, string | number>, signal: AbortSignal): Promise<LogList> {
  return ask<LogList>(runPath(id, `/logs${query(asked)}`), { signal });
}
