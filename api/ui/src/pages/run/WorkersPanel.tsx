/** Each worker's life as a bar over time, when generations were formed, and what went wrong. */
import { useQuery } from "@tanstack/react-query";
import { useState } from "react";
import { Refusal, runPath } from "../../api/client";
import { timelineQuery, workersQuery } from "../../api/queries";
import type { RunDetail, Worker } from "../../api/types";
import { useTable } from "../../charts/ChartTable";
import { moment } from "../../lib/format";
import { isActive, isPresent, workerTone } from "../../lib/status";
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
  const missing = timeline.error instanceof Refusal && timeline.error.status === 404;
  const workers = useQuery({ ...workersQuery(run.id), enabled: missing });
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
      api={runPath(run.name, missing ? "/workers" : "/timeline")}
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
      {timeline.error && !timeline.data && !missing && <Trouble error={timeline.error} again={() => void timeline.refetch()} />}
      {missing && (
        <>
          <p className="panel-note faint small">This service tells no timeline of its runs; these are the workers as they were last seen.</p>
          {workers.data && <Roster workers={workers.data} onSteer={steer} />}
        </>
      )}
      {asked && <WorkerDialog run={run} {...asked} onClose={() => setAsked(null)} />}
    </Panel>
  );
}

function Roster({ workers, onSteer }: { workers: Worker[]; onSteer?: (asked: AskedOf) => void }) {
  if (!workers.length) return <Empty>No worker was started yet.</Empty>;
  return (
    <div className="scroll-x" tabIndex={0} role="region" aria-label="Workers, a table">
      <table className="data">
        <thead>
          <tr>
            <th scope="col">Worker</th>
            <th scope="col">State</th>
            <th scope="col">Since</th>
            <th scope="col">Node</th>
            <th scope="col" className="right">
              Process
            </th>
            <th scope="col" />
          </tr>
        </thead>
        <tbody>
          {workers.map((one) => (
            <tr key={`${one.attempt}-${one.worker}`}>
              <td>
                {one.worker} <span className="faint small">attempt {one.attempt}</span>
              </td>
              <td>
                <span className={`status tone-${workerTone(one.state)}`}>
                  <i className="dot" aria-hidden="true" />
                  {one.state}
                </span>
              </td>
              <td>{moment(one.since)}</td>
              <td className="mono">{one.node_id?.slice(0, 12) ?? "–"}</td>
              <td className="right">{one.pid ?? "–"}</td>
              <td className="right">{isPresent(one.state) && onSteer && <WorkerButtons worker={one.worker} onSteer={onSteer} />}</td>
            </tr>
          ))}
        </tbody>
      </table>
    </div>
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
