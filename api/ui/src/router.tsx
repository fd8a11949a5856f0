import { createRootRoute, createRoute, createRouter, lazyRouteComponent } from "@tanstack/react-router";
import { client } from "./api/cache";
import { filterOf, generationsQuery, metricsQuery, queuesQuery, type RunsSearch, runQuery, runsQuery, USUAL_KEYS } from "./api/queries";
import { NotFound } from "./shell/NotFound";
import { Shell } from "./shell/Shell";

const text = (value: unknown) => (value === undefined || value === null ? "" : String(value));

const root = createRootRoute({ component: Shell, notFoundComponent: NotFound });

const runs = createRoute({
  getParentRoute: () => root,
  path: "/",
  validateSearch: (search: Record<string, unknown>): RunsSearch => {
    const named = ["status", "q", "queue", "label", "sort"] as const;
    return Object.fromEntries(named.flatMap((name) => (text(search[name]) ? [[name, text(search[name])]] : [])));
  },
  loaderDeps: ({ search }) => search,
  // Asked for while the code of the page is on its way; what fails is said by the page.
  loader: ({ deps }) => {
    void client.prefetchInfiniteQuery(runsQuery(filterOf(deps)));
    void client.prefetchQuery(queuesQuery);
  },
  component: lazyRouteComponent(() => import("./pages/runs/RunsPage"), "RunsPage"),
});

const run = createRoute({
  getParentRoute: () => root,
  path: "/runs/$ref",
  loader: ({ params: { ref } }) => {
    void client.fetchQuery(runQuery(ref)).then(
      (run) => {
        void client.prefetchQuery(metricsQuery(run.id, USUAL_KEYS));
        void client.prefetchQuery(generationsQuery(run.id));
      },
      () => undefined,
    );
  },
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
