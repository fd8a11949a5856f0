import { useQueries } from "@tanstack/react-query";
import { useNavigate } from "@tanstack/react-router";
import { useWindowVirtualizer } from "@tanstack/react-virtual";
import { useEffect, useRef, useState } from "react";
import { goodputQuery, sparklinesQuery } from "../../api/queries";
import type { RunListed } from "../../api/types";
import { useKeys } from "../../lib/keys";
import { useMedia } from "../../lib/media";
import { isActive, whyOf } from "../../lib/status";
import { seriesOf } from "../../lib/series";
import { RunRow } from "./RunRow";

const ROW = 46;
const CARD = 92;
/** More where there is a sentence. */
const SENTENCE = 20;
const CHUNK = 25;
/** Curves in a list move every so often; the page of a run has them at once. */
const SPARK_MS = 5000;

interface RunListProps {
  runs: RunListed[];
  total?: number;
  more?: () => void;
  sort: string;
  onSort: (sort: string) => void;
  goodput: boolean;
  marked: ReadonlySet<string>;
  onMark: (name: string) => void;
}

export function RunList({ runs, total, more, sort, onSort, goodput, marked, onMark }: RunListProps) {
  const narrow = useMedia("(max-width: 860px)");
  const place = useRef<HTMLDivElement>(null);
  const [at, setAt] = useState(-1);
  const navigate = useNavigate();
  const list = useWindowVirtualizer({
    count: runs.length,
    estimateSize: (index) => (!narrow ? ROW : whyOf(runs[index]!) ? CARD + SENTENCE : CARD),
    overscan: 8,
    scrollMargin: place.current?.offsetTop ?? 0,
    getItemKey: (index) => runs[index]!.id,
  });
  useEffect(() => list.measure(), [narrow, list]);
  const rows = list.getVirtualItems();
  const last = rows.at(-1)?.index ?? 0;
  useEffect(() => {
    if (more && last >= runs.length - 40) more();
  }, [more, last, runs.length]);

  const go = (index: number) => {
    const next = Math.max(0, Math.min(runs.length - 1, index));
    setAt(next);
    list.scrollToIndex(next, { align: "auto" });
  };
  useKeys({
    j: () => go(at + 1),
    k: () => go(at - 1),
    Enter: () => runs[at] && void navigate({ to: "/runs/$ref", params: { ref: runs[at].name } }),
    x: () => runs[at] && onMark(runs[at].name),
  });

  const shown = runs.slice(rows[0]?.index ?? 0, last + 1);
  const sparks = useSparklines(runs, rows[0]?.index ?? 0, last);
  const spent = useGoodputs(goodput ? shown : []);
  return (
    <div className={`panel runs${goodput ? " with-goodput" : ""}`} role="table" aria-label="Runs" aria-rowcount={(total ?? runs.length) + 1}>
      <Heads sort={sort} onSort={onSort} goodput={goodput} />
      <div ref={place} role="rowgroup" className="runs-body" style={{ height: list.getTotalSize() }}>
        {rows.map((row) => {
          const run = runs[row.index]!;
          return (
            <RunRow
              key={row.key}
              run={run}
              index={row.index}
              top={row.start - list.options.scrollMargin}
              height={row.size}
              current={row.index === at}
              marked={marked.has(run.name)}
              onMark={onMark}
              spark={sparks[run.id]}
              goodput={goodput ? spent[run.id] : undefined}
            />
          );
        })}
      </div>
    </div>
  );
}

const HEADS: readonly [string, string, string?][] = [
  ["mark", ""],
  ["status", "Status"],
  ["name", "Run", "name"],
  ["progress", "Progress"],
  ["loss", "Loss"],
  ["workers", "Workers"],
  ["goodput", "Goodput"],
  ["queue", "Queue", "-priority"],
  ["when", "Created", "-created"],
];

function Heads({ sort, onSort, goodput }: { sort: string; onSort: (sort: string) => void; goodput: boolean }) {
  return (
    <div role="row" aria-rowindex={1} className="run-row run-heads">
      {HEADS.filter(([name]) => goodput || name !== "goodput").map(([name, word, order]) => {
        const bare = order?.replace("-", "");
        const sorted = bare !== undefined && sort.replace("-", "") === bare;
        const direction = sorted ? (sort.startsWith("-") ? "descending" : "ascending") : undefined;
        const other = sort.startsWith("-") ? bare! : `-${bare}`;
        return (
          <span key={name} role="columnheader" className={`cell-${name}`} aria-sort={direction}>
            {order ? (
              <button type="button" className="sort" onClick={() => onSort(sorted ? other : order)}>
                {word}
                {direction && <span aria-hidden="true">{direction === "descending" ? " ↓" : " ↑"}</span>}
              </button>
            ) : (
              word || <span className="hidden">Compare</span>
            )}
          </span>
        );
      })}
    </div>
  );
}

/** The loss of the runs on the screen, asked for by whole chunks of the list, so that scrolling asks seldom. */
function useSparklines(runs: RunListed[], first: number, last: number) {
  const from = Math.floor(first / CHUNK);
  const to = Math.floor(last / CHUNK);
  const chunks = Array.from({ length: to - from + 1 }, (_, index) => runs.slice((from + index) * CHUNK, (from + index + 1) * CHUNK));
  const answers = useQueries({
    queries: chunks.map((chunk) => ({
      ...sparklinesQuery(chunk.map((run) => run.id)),
      refetchInterval: chunk.some((run) => isActive(run.status)) ? SPARK_MS : (false as const),
      select: (answer: { runs: Record<string, Parameters<typeof seriesOf>[0]> }) =>
        Object.fromEntries(Object.entries(answer.runs).map(([id, columns]) => [id, seriesOf(columns)])),
    })),
  });
  return Object.assign({}, ...answers.map((answer) => answer.data ?? {})) as Record<string, ReturnType<typeof seriesOf>>;
}

/** Measured for the rows on the screen, and only when somebody asked. */
function useGoodputs(runs: RunListed[]): Record<string, number | null> {
  const answers = useQueries({ queries: runs.map((run) => ({ ...goodputQuery(run.id), staleTime: 30_000 })) });
  return Object.fromEntries(runs.map((run, index) => [run.id, answers[index]?.data?.goodput ?? null]));
}
