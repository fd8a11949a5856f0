/** Each worker's life as a bar over time, when generations were formed, and what went wrong. */
import { useQuery } from "@tanstack/react-query";
import { useState } from "react";
import { runPath } from "../../api/client";
import { timelineQuery } from "../../api/queries";
import type { RunDetail } from "../../api/types";
import { useTable } from "../../charts/ChartTable";
import { isActive, isPresent } from "../../lib/status";
import { Empty, Panel } from "../../ui/Panel";
import { Trouble } from "../../ui/Trouble";
import { Gantt } from "./Gantt";
import { LivesTable } from "./LivesTable";
import { WorkerDialog, type WorkerVerb } from "./WorkerDialog";
import "../../styles/gantt.css";

export interface AskedOf {
  worker: string;
  verb: WorkerVerb;
}

export function WorkersPanel({ run }: { run: RunDetail }) {
  const timeline = useQuery(timelineQuery(run.id));
  const [table, button] = useTable();
  const [asked, setAsked] = useState<AskedOf | null>(null);
  const steer = isActive(run.status) ? setAsked : undefined;
  const lives = timeline.data?.workers;
  return (
    <Panel
      id="workers"
      title="Workers"
      note={lives && `${lives.filter((one) => isPresent(one.state)).length} there, ${lives.length} ever`}
      cli={`tumbler workers ${run.name}`}
      api={runPath(run.name, "/timeline")}
      tools={timeline.data && button}
      flush
    >
      {timeline.data &&
        (timeline.data.workers.length === 0 ? (
          <Empty>No worker was started yet.</Empty>
        ) : table ? (
          <LivesTable timeline={timeline.data} onSteer={steer} />
        ) : (
          <Gantt timeline={timeline.data} run={run} onSteer={steer} />
        ))}
      {timeline.isPending && !timeline.error && <Empty>Looking…</Empty>}
      {timeline.error && !timeline.data && <Trouble error={timeline.error} again={() => void timeline.refetch()} />}
      {asked && <WorkerDialog run={run} {...asked} onClose={() => setAsked(null)} />}
    </Panel>
  );
}

export function WorkerButtons({ worker, onSteer }: { worker: string; onSteer: (asked: AskedOf) => void }) {
  return (
    <span className="worker-buttons">
      <button type="button" className="quiet" onClick={() => onSteer({ worker, verb: "drain" })} aria-label={`Drain worker ${worker}`}>
        drain
      </button>
      <button type="button" className="quiet bad" onClick={() => onSteer({ worker, verb: "kill" })} aria-label={`Kill worker ${worker}, as a drill`}>
        kill
      </button>
    </span>
  );
}
