/** Keeps what the page knows of one run up to date by its stream. */
import { type QueryClient, useQueryClient } from "@tanstack/react-query";
import { useCallback, useRef, useState } from "react";
import { API, runPath } from "../api/client";
import { MAX_POINTS } from "../api/queries";
import type { LogList, Run, RunDetail, RunEvent } from "../api/types";
import { type Series, withPoints } from "../lib/series";
import type { LogTail } from "./logTail";
import { gathered, type Message, type News, withEvents, withStatus } from "./news";
import { addToTail } from "./tails";
import { useFeed } from "./useFeed";

const KINDS = ["status", "event", "worker", "metric", "log", "trouble", "end"] as const;

export function eventsKey(id: string) {
  return ["run", id, "events"] as const;
}

/** `ref` is what the page asked for the run by; `logs` is who takes what its workers print, where somebody follows that. */
export function useRunFeed(ref: string, run: Run | undefined, logs: LogTail | null): { trouble: string | null; deleted: boolean } {
  const client = useQueryClient();
  const [trouble, setTrouble] = useState<string | null>(null);
  const [deleted, setDeleted] = useState(false);
  const opened = useOpened(run);
  const onMessages = useCallback(
    (messages: Message[]) => {
      if (!run) return;
      const news = gathered(messages, opened.known);
      take(client, ref, run.id, news);
      for (const { kind, data } of messages) if (kind === "log") logs?.take(data as LogList);
      if (news.trouble) setTrouble(news.trouble);
      if (news.deleted) setDeleted(true);
    },
    [client, ref, run?.id, opened, logs],
  );
  const url = run ? `${API}${runPath(run.id, `/stream?metrics_from=${opened.step + 1}`)}` : null;
  // It may be that the run is gone, and not the service: then the page must hear of it.
  const onLost = useCallback(() => {
    logs?.lost();
    void client.invalidateQueries({ queryKey: ["run", ref], exact: true });
  }, [client, ref, logs]);
  useFeed({ url, extra: logs, kinds: KINDS, last: "end", onMessages, onLost });
  return { trouble, deleted };
}

interface Opened {
  id: string;
  /**
   * The step that the run had when the page was opened: all up to it are in the answer of /metrics, and only those
   * that follow are sent.
   */
  step: number;
  /** What happened before, in the time of the service, is in what the page asked for. */
  known: number;
}

/** An event may come into the record so much later than it happened. */
const LATE_MS = 5000;
const NEVER: Opened = { id: "", step: 0, known: 0 };

function useOpened(run: Run | undefined): Opened {
  const opened = useRef(NEVER);
  if (run && opened.current.id !== run.id) {
    opened.current = { id: run.id, step: run.step, known: Date.parse(run.updated) - LATE_MS };
  }
  return opened.current;
}

function take(client: QueryClient, ref: string, id: string, news: News): void {
  if (news.status) client.setQueryData<RunDetail>(["run", ref], (old) => withStatus(old, news.status));
  if (news.events.length) {
    client.setQueryData<RunEvent[]>(eventsKey(id), (old = []) => withEvents(old, news.events));
  }
  if (news.points.length) {
    addToTail(id, news.points);
    takePoints(client, id, news);
  }
  for (const part of news.stale) {
    void client.invalidateQueries({ queryKey: part === "run" ? ["run", ref] : ["run", id, part], exact: true });
  }
}

function takePoints(client: QueryClient, id: string, news: News): void {
  const queryKey = ["run", id, "metrics"];
  let long = false;
  client.setQueriesData<Series>({ queryKey }, (old) => {
    const next = old && withPoints(old, news.points);
    long ||= (next?.step.length ?? 0) > 2 * MAX_POINTS;
    return next;
  });
  // The service thins all of them out evenly.
  if (long) void client.invalidateQueries({ queryKey }, { cancelRefetch: false });
}
