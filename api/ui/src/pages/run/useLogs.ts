import { useEffect, useState } from "react";
import { ask, query, runPath } from "../../api/client";
import type { LogList } from "../../api/types";
import { type NumberedLine, withLines } from "../../lib/logs";
import { LogTail } from "../../live/logTail";

const EVERY_MS = 1000;
const TAIL = 500;

interface Wanted {
  id: string;
  worker: string;
  q: string;
  follow: boolean;
  /** Somebody may still print. */
  active: boolean;
  attempt: number;
  /** Told what the stream of the run is to bring; null: nothing. */
  onTail: (tail: LogTail | null) => void;
}

/** The newest lines and, while it follows, what comes. */
export function useLogs({ id, worker, q, follow, active, attempt, onTail }: Wanted) {
  const [lines, setLines] = useState<NumberedLine[]>([]);
  const [error, setError] = useState<unknown>(null);
  const [tail, setTail] = useState<LogTail | null>(null);

  useEffect(() => {
    const stop = new AbortController();
    const asked = { worker, q, tail: TAIL };
    let made: LogTail | null = null;
    setLines([]);
    setError(null);
    void read(id, asked, stop.signal).then(
      (answer) => {
        setLines(withLines([], answer.lines));
        made = new LogTail({
          cursor: answer.next,
          worker,
          q,
          onLines: (more) => setLines((known) => withLines(known, more)),
          read: (since) => read(id, { ...asked, since }, stop.signal),
        });
        setTail(made);
      },
      (refusal) => !stop.signal.aborted && setError(refusal),
    );
    return () => {
      stop.abort();
      made?.close();
    };
  }, [id, worker, q, attempt]);

  // Also where the run is over: its last lines come after the word that it is.
  useEffect(() => onTail(follow ? tail : null), [follow, tail, onTail]);
  useEffect(() => {
    if (!follow || !active || !tail) return;
    let timer: ReturnType<typeof setTimeout>;
    let over = false;
    const next = async () => {
      // Where the service is away the banner says so, and the next turn asks again.
      if (!document.hidden) await tail.poll().catch(() => undefined);
      if (!over) timer = setTimeout(next, EVERY_MS);
    };
    timer = setTimeout(next, EVERY_MS);
    return () => {
      over = true;
      clearTimeout(timer);
    };
  }, [follow, active, tail]);
  return { lines, error };
}

function read(id: string, asked: Record<string, string | number>, signal: AbortSignal): Promise<LogList> {
  return ask<LogList>(runPath(id, `/logs${query(asked)}`), { signal });
}
