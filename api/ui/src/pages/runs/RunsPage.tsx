/** All runs: found by filter, sorted, live. Ten thousand of them are a list of what is on the screen. */
import { useInfiniteQuery } from "@tanstack/react-query";
import { Link, useNavigate, useSearch } from "@tanstack/react-router";
import { useMemo, useState } from "react";
import { filterOf, GROUPS, runsQuery, type RunsSearch } from "../../api/queries";
import { count } from "../../lib/format";
import { useTitle } from "../../lib/title";
import { useRunsFeed } from "../../live/useRunsFeed";
import { Empty } from "../../ui/Panel";
import { Copy } from "../../ui/Copy";
import { Trouble } from "../../ui/Trouble";
import { Filters } from "./Filters";
import { RunList } from "./RunList";
import "../../styles/runs.css";

export function RunsPage() {
  useTitle("Runs");
  useRunsFeed();
  const search = useSearch({ from: "/" });
  const navigate = useNavigate({ from: "/" });
  const [goodput, setGoodput] = useState(false);
  const [marked, setMarked] = useState<ReadonlySet<string>>(new Set());
  const filter = filterOf(search);
  const found = useInfiniteQuery(runsQuery(filter));
  const runs = useMemo(() => found.data?.pages.flatMap((page) => page.runs) ?? [], [found.data]);
  const total = found.data?.pages[0]?.total;
  const change = (next: RunsSearch) =>
    void navigate({ search: (old) => dropEmpty({ ...old, ...next }), replace: true });
  const mark = (name: string) => setMarked((old) => toggled(old, name));

  return (
    <>
      <div className="row wrap page-title">
        <h1>Runs</h1>
        <span className="faint num" role="status" aria-live="polite">
          {found.data ? told(runs.length, total, found.hasNextPage) : ""}
        </span>
        <span className="grow" />
        {marked.size > 0 && (
          <>
            <Link
              to="/compare"
              search={{ runs: [...marked].join(",") }}
              className="button primary"
              disabled={marked.size < 2}
            >
              Compare {marked.size}
            </Link>
            <button type="button" className="button" onClick={() => setMarked(new Set())}>
              Clear
            </button>
          </>
        )}
        <Copy text={commandOf(search)} label="Copy the command that lists these runs" word="CLI" />
        <Link to="/submit" className="button">
          Submit a run
        </Link>
      </div>
      <Filters search={search} change={change} goodput={goodput} setGoodput={setGoodput} />
      {found.error && !found.data && <Trouble error={found.error} again={() => void found.refetch()} />}
      {found.isPending && !found.error && <Empty>Looking…</Empty>}
      {found.data && runs.length === 0 && <NoRuns filtered={Object.keys(search).length > 0} />}
      {runs.length > 0 && (
        <RunList
          runs={runs}
          total={total ?? undefined}
          more={found.hasNextPage && !found.isFetchingNextPage ? () => void found.fetchNextPage() : undefined}
          sort={filter.sort}
          onSort={(sort) => change({ sort })}
          goodput={goodput}
          marked={marked}
          onMark={mark}
        />
      )}
    </>
  );
}

function NoRuns({ filtered }: { filtered: boolean }) {
  return (
    <div className="panel">
      <Empty>
        {filtered ? (
          <Link to="/" className="link">
            No run is like that. Show all.
          </Link>
        ) : (
          <>
            No run yet. <Link to="/submit" className="link">Submit one</Link>, or type <code>tumbler submit -f run.yaml</code>.
          </>
        )}
      </Empty>
    </div>
  );
}

function told(shown: number, total: number | null | undefined, more: boolean): string {
  if (total !== null && total !== undefined) return count(total);
  return more ? `${count(shown)}+` : count(shown);
}

function toggled(set: ReadonlySet<string>, name: string): ReadonlySet<string> {
  const next = new Set(set);
  if (!next.delete(name)) next.add(name);
  return next;
}

function dropEmpty(search: RunsSearch): RunsSearch {
  return Object.fromEntries(Object.entries(search).filter(([, value]) => value));
}

function commandOf(search: RunsSearch): string {
  const statuses = (GROUPS[search.status ?? ""] ?? []).map((status) => ` --status ${status}`).join("");
  const labels = search.label ? search.label.split(/[\s,]+/).map((pair) => ` --label ${pair}`).join("") : "";
  return `tumbler ls${statuses}${search.queue ? ` --queue ${search.queue}` : ""}${labels}`;
}
