/** What the pages ask for, by key. The live streams change these answers in place. */
import { infiniteQueryOptions, queryOptions } from "@tanstack/react-query";
import { seriesOf, withPoints } from "../lib/series";
import { tailMark, tailSince } from "../live/tails";
import { ask, query, runPath } from "./client";
import type {
  Attempt,
  Audit,
  Checkpoint,
  ClusterGoodput,
  Columns,
  Generation,
  Goodput,
  NodeShown,
  Queue,
  RunDetail,
  RunPage,
  Sparklines,
  Status,
  Timeline,
  Version,
  Worker,
} from "./types";

export interface RunFilter {
  status: readonly string[];
  q: string;
  queue: string;
  label: string;
  sort: string;
}

/** What is behind each word of the filter by status. */
export const GROUPS: Record<string, Status[]> = {
  active: ["STARTING", "RUNNING", "PAUSING", "CANCELLING"],
  queued: ["QUEUED"],
  paused: ["PAUSED"],
  succeeded: ["SUCCEEDED"],
  failed: ["FAILED"],
  cancelled: ["CANCELLED"],
};

export function filterOf(search: RunsSearch): RunFilter {
  const { status = "", q = "", queue = "", label = "", sort = "-created" } = search;
  return { status: GROUPS[status] ?? [], q, queue, label, sort };
}

/** Filters of the list of runs, as the address of the page has them. */
export interface RunsSearch {
  status?: string;
  q?: string;
  queue?: string;
  label?: string;
  sort?: string;
}

/** The metrics that the page of every run shows. */
export const USUAL_KEYS = ["loss", "val_loss", "step_s", "workers"] as const;

const PAGE = 200;
export const MAX_POINTS = 2000;

export const runsQuery = (filter: RunFilter) =>
  infiniteQueryOptions({
    queryKey: ["runs", filter],
    queryFn: ({ pageParam, signal }) =>
      ask<RunPage>(`/runs${query({ ...filter, label: labels(filter.label), limit: PAGE, cursor: pageParam })}`, { signal }),
    initialPageParam: null as string | null,
    getNextPageParam: (page) => page.next_cursor,
  });

/** `a=b c=d` or `a=b, c=d`; what has no `=` is left out until it is typed. */
export function labels(text: string): string[] {
  return text.split(/[\s,]+/).filter((pair) => /^[^=]+=/.test(pair));
}

export const runQuery = (ref: string) =>
  queryOptions({ queryKey: ["run", ref], queryFn: ({ signal }) => ask<RunDetail>(runPath(ref), { signal }) });

export const metricsQuery = (id: string, keys: readonly string[]) =>
  queryOptions({
    queryKey: ["run", id, "metrics", ...keys],
    queryFn: async ({ signal }) => {
      const mark = tailMark(id);
      const series = seriesOf(await readMetrics(id, keys, { sample: 1 }, signal));
      return withPoints(series, tailSince(id, mark));
    },
  });

/** Those of a part of the run, for a look at it from near. */
export const detailQuery = (id: string, keys: readonly string[], from: number, to: number) =>
  queryOptions({
    queryKey: ["run", id, "detail", ...keys, from, to],
    queryFn: async ({ signal }) => seriesOf(await readMetrics(id, keys, { from_step: from, to_step: to }, signal)),
    staleTime: 60_000,
  });

function readMetrics(id: string, keys: readonly string[], span: Record<string, number>, signal: AbortSignal) {
  const asked = query({ keys: keys.join(","), max_points: MAX_POINTS, ...span });
  return ask<Columns>(runPath(id, `/metrics${asked}`), { signal });
}

const partOf = <T>(name: string, pick: (answer: Record<string, unknown>) => unknown, retry = true) => (id: string) =>
  queryOptions({
    queryKey: ["run", id, name],
    queryFn: async ({ signal }) => pick(await ask<Record<string, unknown>>(runPath(id, `/${name}`), { signal })) as T,
    ...(retry ? {} : { retry: false }),
  });

const whole = (answer: unknown) => answer;
export const generationsQuery = partOf<Generation[]>("generations", (answer) => answer.generations);
export const attemptsQuery = partOf<Attempt[]>("attempts", (answer) => answer.attempts);
export const workersQuery = partOf<Worker[]>("workers", (answer) => answer.workers);
export const checkpointsQuery = partOf<Checkpoint[]>("checkpoints", (answer) => answer.checkpoints);
export const goodputQuery = partOf<Goodput>("goodput", whole, false);
export const auditQuery = partOf<Audit>("audit", whole, false);
export const timelineQuery = partOf<Timeline>("timeline", whole, false);

export const sparklinesQuery = (ids: readonly string[]) =>
  queryOptions({
    queryKey: ["sparklines", ...ids],
    queryFn: ({ signal }) =>
      ask<Sparklines>(`/sparklines${query({ runs: ids, key: "loss", max_points: 40 })}`, { signal }),
    enabled: ids.length > 0,
    retry: false,
  });

export const nodesQuery = queryOptions({
  queryKey: ["cluster", "nodes"],
  queryFn: async ({ signal }) => (await ask<{ nodes: NodeShown[] }>("/cluster/nodes", { signal })).nodes,
  retry: false,
});

export const queuesQuery = queryOptions({
  queryKey: ["cluster", "queues"],
  queryFn: async ({ signal }) => (await ask<{ queues: Queue[] }>("/queues", { signal })).queues,
});

export const clusterGoodputQuery = queryOptions({
  queryKey: ["cluster", "goodput"],
  queryFn: ({ signal }) => ask<ClusterGoodput>("/cluster/goodput", { signal }),
  staleTime: 30_000,
});

export const versionQuery = queryOptions({
  queryKey: ["version"],
  queryFn: ({ signal }) => ask<Version>("/version", { signal }),
  staleTime: Number.POSITIVE_INFINITY,
});
