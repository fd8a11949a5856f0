/** Several runs beside each other: their curves on one axis, and where their specs differ. */
import { useQueries } from "@tanstack/react-query";
import { useNavigate, useSearch } from "@tanstack/react-router";
import { type FormEvent, useMemo, useState } from "react";
import { metricsQuery, runQuery } from "../../api/queries";
import type { RunDetail } from "../../api/types";
import { useTitle } from "../../lib/title";
import { useRunsFeed } from "../../live/useRunsFeed";
import { Empty } from "../../ui/Panel";
import { Trouble } from "../../ui/Trouble";
import { CurvesBeside } from "./CurvesBeside";
import { SpecDifference } from "./SpecDifference";
import { Summary } from "./Summary";
import "../../styles/compare.css";

const MOST = 8;
const EVERY_MS = 4000;
const USUAL = ["loss", "val_loss"];

export function ComparePage() {
  useTitle("Compare");
  useRunsFeed();
  const search = useSearch({ from: "/compare" });
  const navigate = useNavigate({ from: "/compare" });
  const names = useMemo(() => [...new Set((search.runs ?? "").split(",").filter(Boolean))].slice(0, MOST), [search.runs]);
  const key = search.key ?? "loss";
  const answers = useQueries({ queries: names.map((name) => ({ ...runQuery(name), refetchInterval: liveOnly })) });
  const runs = answers.flatMap((answer) => (answer.data ? [answer.data] : []));
  const errors = answers.flatMap((answer) => (answer.error && !answer.data ? [answer.error] : []));
  const curves = useQueries({
    queries: runs.map((run) => ({ ...metricsQuery(run.id, [key]), refetchInterval: run.status === "RUNNING" ? EVERY_MS : (false as const) })),
  });
  const show = (next: readonly string[]) => void navigate({ search: (old) => ({ ...old, runs: next.join(",") || undefined }), replace: true });
  const keys = [...new Set([...USUAL, key, ...runs.flatMap((run) => Object.keys(run.metrics))])];

  return (
    <>
      <div className="row wrap page-title">
        <h1>Compare</h1>
        <span className="grow" />
        <AddRun onAdd={(name) => show([...names, name])} disabled={names.length >= MOST} />
        <label className="row small soft">
          Metric
          <select className="select" value={key} onChange={(event) => void navigate({ search: (old) => ({ ...old, key: event.target.value }), replace: true })}>
            {keys.map((one) => (
              <option key={one}>{one}</option>
            ))}
          </select>
        </label>
      </div>
      {errors.map((error) => (
        <Trouble key={String(error)} error={error} />
      ))}
      {names.length === 0 ? (
        <div className="panel">
          <Empty>Add runs by name, or mark them in the list of runs.</Empty>
        </div>
      ) : (
        <div className="parts">
          <CurvesBeside runs={runs} curves={curves.map((curve) => curve.data)} metric={key} />
          <Summary runs={runs} onRemove={(run: RunDetail) => show(names.filter((name) => name !== run.name && name !== run.id))} />
          <SpecDifference runs={runs} />
        </div>
      )}
    </>
  );
}

/** The stream tells of lists; what is compared is asked for again while it trains. */
function liveOnly({ state }: { state: { data?: RunDetail } }): number | false {
  return state.data && !state.data.ended ? EVERY_MS : false;
}

function AddRun({ onAdd, disabled }: { onAdd: (name: string) => void; disabled: boolean }) {
  const [name, setName] = useState("");
  const add = (event: FormEvent) => {
    event.preventDefault();
    if (name.trim()) onAdd(name.trim());
    setName("");
  };
  return (
    <form className="row" onSubmit={add}>
      <input className="input" data-search="" aria-label="Run to add" placeholder="Name or id of a run" value={name} onChange={(event) => setName(event.target.value)} disabled={disabled} />
      <button type="submit" className="button" disabled={disabled || !name.trim()}>
        Add
      </button>
    </form>
  );
}
