/** Name, status, what can be done, and the figures that one looks for first. */
import { useQuery } from "@tanstack/react-query";
import type { ReactNode } from "react";
import { API, runPath } from "../../api/client";
import { goodputQuery, metricsQuery, USUAL_KEYS } from "../../api/queries";
import type { RunDetail } from "../../api/types";
import { ago, count, duration, moment, number, percent, span } from "../../lib/format";
import { useNow } from "../../lib/now";
import { newest } from "../../lib/series";
import { isOver, toneOf } from "../../lib/status";
import { Copy } from "../../ui/Copy";
import { StatusWord } from "../../ui/Status";
import { Actions } from "./Actions";

export function Head({ run }: { run: RunDetail }) {
  return (
    <header className="run-head">
      <div className="row wrap">
        <h1 className="run-name">{run.name}</h1>
        <span role="status" aria-live="polite" className="row">
          <StatusWord status={run.status} badge />
          {(run.phase || (run.reason && run.reason !== "Finished")) && <span className="soft">{run.phase || run.reason}</span>}
        </span>
        {Object.entries(run.labels).map(([key, value]) => (
          <span key={key} className="chip">
            {key}={value}
          </span>
        ))}
        <span className="grow" />
        <Actions run={run} />
      </div>
      <div className="row wrap faint small run-sub">
        <span className="mono">{run.id}</span>
        <span>queue {run.queue}</span>
        <span>priority {run.priority}</span>
        <span className="clip mono" title={run.path}>
          {run.path}
        </span>
        <span className="row run-links">
          <Copy text={`tumbler describe ${run.name}`} label={`Copy the command: tumbler describe ${run.name}`} word="CLI" />
          <a className="quiet" href={API + runPath(run.name)} target="_blank" rel="noreferrer" aria-label="API: this run over REST">
            API
          </a>
        </span>
      </div>
      <Figures run={run} />
    </header>
  );
}

function Figures({ run }: { run: RunDetail }) {
  const now = useNow();
  const goodput = useQuery(goodputQuery(run.id)).data;
  // The status has the metrics of the newest step, and that may have had no evaluation.
  const validated = useQuery(metricsQuery(run.id, USUAL_KEYS)).data?.values.val_loss ?? [];
  const share = run.total_steps ? run.step / run.total_steps : 0;
  const { min, max, now: there, target } = run.workers;
  const took = span(run.started, run.ended, now);
  const left = took && share > 0.01 && run.status === "RUNNING" ? (took * (1 - share)) / share : null;
  return (
    <dl className={`figures tone-${toneOf(run.status)}`}>
      <Figure name="Step" value={count(run.step)} more={`of ${run.total_steps ? count(run.total_steps) : "?"}`}>
        <span className="meter" aria-hidden="true">
          <i style={{ width: `${Math.min(100, share * 100)}%` }} />
        </span>
      </Figure>
      <Figure name="Loss" value={number(run.metrics.loss, 5)} bad={typeof run.metrics.loss === "string"} />
      <Figure name="Validation loss" value={number(run.metrics.val_loss ?? newest(validated), 5)} />
      <Figure
        name="Workers"
        value={isOver(run.status) ? (min === max ? String(max) : `${min}–${max}`) : String(there)}
        more={isOver(run.status) ? "asked for" : `of ${min === max ? max : `${min}–${max}`}${target !== there ? `, ${target} granted` : ""}`}
      />
      <Figure name="Generation" value={String(run.generation || "–")} more={run.attempt > 1 ? `attempt ${run.attempt}` : ""} />
      <Figure name="Goodput" value={percent(goodput?.goodput)} more={goodput?.steps_repeated ? `${count(goodput.steps_repeated)} steps repeated` : ""} />
      <Figure
        name={run.ended ? "Took" : "Runs for"}
        value={took === null ? "–" : duration(took)}
        more={left ? `${duration(left)} left` : run.ended ? `ended ${ago(run.ended, now)} ago` : ""}
      />
      <Figure name="Created" value={moment(run.created)} />
    </dl>
  );
}

interface FigureProps {
  name: string;
  value: string;
  more?: string;
  bad?: boolean;
  children?: ReactNode;
}

function Figure({ name, value, more, bad, children }: FigureProps) {
  return (
    <div className="figure">
      <dt>{name}</dt>
      <dd className="num">
        <b className={bad ? "bad" : ""}>{value}</b> {more && <span className="faint small">{more}</span>}
        {children}
      </dd>
    </div>
  );
}
