import { createRootRoute, createRoute, createRouter, lazyRouteComponent } from "@tanstack/react-router";
import { NotFound } from "./shell/NotFound";
import { Shell } from "./shell/Shell";

const text = (value: unknown) => (value === undefined || value === null ? "" : String(value));

/** Filters of the list of runs; what has its usual value is not in the address. */
export interface RunsSearch {
  status?: string;
  q?: string;
  queue?: string;
  label?: string;
  sort?: string;
}

const root = createRootRoute({ component: Shell, notFoundComponent: NotFound });

const runs = createRoute({
  getParentRoute: () => root,
  path: "/",
  validateSearch: (search: Record<string, unknown>): RunsSearch => {
    const named = ["status", "q", "queue", "label", "sort"] as const;
    return Object.fromEntries(named.flatMap((name) => (text(search[name]) ? [[name, text(search[name])]] : [])));
  },
  component: lazyRouteComponent(() => import("./pages/runs/RunsPage"), "RunsPage"),
});

const run = createRoute({
  getParentRoute: () => root,
  path: "/runs/$ref",
  component: lazyRouteComponent(() => import("./pages/run/RunPage"), "RunPage"),
});

const compare = createRoute({
  getParentRoute: () => root,
  path: "/compare",
  validateSearch: (search: Record<string, unknown>): { runs?: string; key?: string } => ({
    ...(text(search.runs) ? { runs: text(search.runs) } : {}),
    ...(text(search.key) ? { key: text(search.key) } : {}),
  }),
  component: lazyRouteComponent(() => import("./pages/compare/ComparePage"), "ComparePage"),
});

const cluster = createRoute({
  getParentRoute: () => root,
  path: "/cluster",
  component: lazyRouteComponent(() => import("./pages/cluster/ClusterPage"), "ClusterPage"),
});

const submit = createRoute({
  getParentRoute: () => root,
  path: "/submit",
  component: lazyRouteComponent(() => import("./pages/submit/SubmitPage"), "SubmitPage"),
});

export const router = createRouter({
  routeTree: root.addChildren([runs, run, compare, cluster, submit]),
  defaultPreload: "intent",
  scrollRestoration: true,
});

declare module "@tanstack/react-router" {
  interface Register {
    router: typeof router;
  }
}
