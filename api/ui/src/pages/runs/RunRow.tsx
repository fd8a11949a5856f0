import { Link } from "@tanstack/react-router";
import { memo } from "react";
import type { Run, RunListed } from "../../api/types";
import { Sparkline } from "../../charts/Sparkline";
import { ago, count, duration, moment, number, percent, span } from "../../lib/format";
import { useNow } from "../../lib/now";
import type { Series } from "../../lib/series";
import { isOver, toneOf, whyOf } from "../../lib/status";
import { StatusWord } from "../../ui/Status";

interface RunRowProps {
  run: RunListed;
  index: number;
  top: number;
  height: number;
  current: boolean;
  marked: boolean;
  onMark: (name: string) => void;
  spark: Series | undefined;
  /** Undefined: nobody asked. */
  goodput: number | null | undefined;
}

export const RunRow = memo(function RunRow({ run, index, top, height, current, marked, onMark, spark, goodput }: RunRowProps) {
  return (
    <div
      role="row"
      aria-rowindex={index + 2}
      className={`run-row${current ? " current" : ""}`}
      style={{ transform: `translateY(${top}px)`, height }}
    >
      <span role="cell" className="cell-mark">
        <input type="checkbox" checked={marked} onChange={() => onMark(run.name)} aria-label={`Compare ${run.name}`} />
      </span>
      <span role="cell" className="cell-status">
        <StatusWord status={run.status} />
        <Phase run={run} />
      </span>
      <span role="cell" className="cell-name">
        <Link to="/runs/$ref" params={{ ref: run.name }} className="run-link clip" title={whyOf(run) || undefined}>
          {run.name}
        </Link>
        <Labels labels={run.labels} />
        <Why run={run} />
      </span>
      <span role="cell" className="cell-progress">
        <Progress run={run} />
      </span>
      <span role="cell" className="cell-loss">
        <Sparkline series={spark} name="loss" />
        <span className="num">{number(run.metrics.loss)}</span>
      </span>
      <span role="cell" className="cell-workers num">
        {isOver(run.status) ? <span className="faint">{range(run)}</span> : `${run.workers.now} of ${range(run)}`}
      </span>
      {goodput !== undefined && (
        <span role="cell" className="cell-goodput num">
          {percent(goodput)}
        </span>
      )}
      <span role="cell" className="cell-queue">
        <span className="clip">{run.queue}</span>
        <span className="faint num" title="priority">
          {run.priority}
        </span>
      </span>
      <span role="cell" className="cell-when num">
        <When run={run} />
      </span>
    </div>
  );
});

function Phase({ run }: { run: Run }) {
  const word = run.phase || run.reason || "";
  if (!word || word === "Finished") return null;
  return <span className="faint small clip">{word}</span>;
}

/** One line, cut off where it is too long for the eye. The link over the row has all of it as its title. */
function Why({ run }: { run: RunListed }) {
  const why = whyOf(run);
  if (!why) return null;
  return (
    <span className={`run-why clip small ${run.status === "FAILED" ? "bad" : "soft"}`}>
      {why}
    </span>
  );
}

function Labels({ labels }: { labels: Record<string, string> }) {
  const pairs = Object.entries(labels).slice(0, 2);
  return (
    <span className="run-labels">
      {pairs.map(([key, value]) => (
        <span key={key} className="chip">
          {key}={value}
        </span>
      ))}
    </span>
  );
}

function Progress({ run }: { run: Run }) {
  const share = run.total_steps ? run.step / run.total_steps : 0;
  return (
    <>
      <span className="num small">
        {count(run.step)}
        <span className="faint"> / {run.total_steps ? count(run.total_steps) : "?"}</span>
      </span>
      <span className={`meter tone-${toneOf(run.status)}`} aria-hidden="true">
        <i style={{ width: `${Math.min(100, share * 100)}%` }} />
      </span>
    </>
  );
}

function When({ run }: { run: Run }) {
  const now = useNow();
  const took = span(run.started, run.ended, now);
  return (
    <>
      <span title={moment(run.created)}>{ago(run.created, now)}</span>
      {took !== null && <span className="faint small">ran {duration(took)}</span>}
    </>
  );
}

function range(run: Run): string {
  const { min, max } = run.workers;
  return min === max ? String(max) : `${min}–${max}`;
}
