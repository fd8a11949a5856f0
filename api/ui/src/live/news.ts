/** What messages of a run's stream mean for what the page has: pure, so that it can be tested. */
import type { Run, RunDetail, RunEvent, RunListed, RunPage, Worker } from "../api/types";
import type { Point } from "../lib/series";

export interface Message {
  kind: string;
  data: unknown;
}

/** The parts of a run that must be asked for again. */
export type Part = "timeline" | "generations" | "attempts" | "workers" | "checkpoints" | "goodput" | "audit" | "run";

export interface News {
  status: Run | null;
  events: RunEvent[];
  points: Point[];
  stale: Set<Part>;
  trouble: string | null;
  ended: boolean;
  deleted: boolean;
}

/** What happened before `known` (milliseconds) is in the other answers that the page has, and makes nothing stale. */
export function gathered(messages: readonly Message[], known = 0): News {
  const news: News = {
    status: null,
    events: [],
    points: [],
    stale: new Set(),
    trouble: null,
    ended: false,
    deleted: false,
  };
  for (const { kind, data } of messages) {
    switch (kind) {
      case "status":
        news.status = data as Run;
        break;
      case "event":
        news.events.push(data as RunEvent);
        if (Date.parse((data as RunEvent).time) >= known) {
          for (const part of staleBy((data as RunEvent).kind)) news.stale.add(part);
        }
        break;
      case "worker":
        if (Date.parse((data as Worker).since) >= known) news.stale.add("workers").add("timeline");
        break;
      case "metric":
        news.points.push(...(data as { points: Point[] }).points);
        break;
      case "trouble":
        news.trouble = (data as { message: string }).message;
        break;
      case "end":
        news.ended = true;
        news.deleted = (data as { deleted: boolean }).deleted;
        for (const part of ["run", "timeline", "goodput", "audit", "checkpoints"] as const) news.stale.add(part);
        break;
    }
  }
  return news;
}

function staleBy(kind: string): Part[] {
  if (kind === "generation-started") return ["generations", "timeline", "workers", "goodput"];
  if (kind.startsWith("worker-") || kind === "drain-noticed") return ["timeline", "workers"];
  if (kind.startsWith("checkpoint-")) return ["checkpoints"];
  if (kind.startsWith("attempt-") || kind === "run-resumed") return ["attempts", "timeline", "run"];
  if (kind === "status-moved" || kind === "run-scaled" || kind === "run-ended") return ["run", "timeline"];
  return [];
}

/** What is known of the run beyond its status stays. */
export function withStatus(run: RunDetail | undefined, status: Run | null): RunDetail | undefined {
  return run && status && status.version >= run.version ? { ...run, ...status } : run;
}

/** Those that are new, in the order of their numbers. */
export function withEvents(known: readonly RunEvent[], more: readonly RunEvent[]): RunEvent[] {
  const last = known.at(-1)?.seq ?? 0;
  const fresh = more.filter((event) => event.seq > last);
  return fresh.length ? [...known, ...fresh] : (known as RunEvent[]);
}

/** The pages with the newest state of a run that is in them; null where it is in none. */
export function withRun(pages: readonly RunPage[], run: RunListed): RunPage[] | null {
  let found = false;
  const changed = pages.map((page) => {
    const at = page.runs.findIndex((known) => known.id === run.id);
    if (at < 0) return page;
    found = true;
    const runs = page.runs.slice();
    runs[at] = run;
    return { ...page, runs };
  });
  return found ? changed : null;
}

export function withoutRun(pages: readonly RunPage[], id: string): RunPage[] {
  return pages.map((page) =>
    page.runs.some((run) => run.id === id)
      ? { ...page, runs: page.runs.filter((run) => run.id !== id), total: page.total ? page.total - 1 : page.total }
      : page,
  );
}
