import type { Timeline } from "../../api/types";
import { duration, moment } from "../../lib/format";
import { isPresent, workerTone } from "../../lib/status";
import { type AskedOf, WorkerButtons } from "./WorkersPanel";

/** The Gantt as a table. */
export function LivesTable({ timeline, onSteer }: { timeline: Timeline; onSteer?: (asked: AskedOf) => void }) {
  return (
    <div className="scroll-x" tabIndex={0} role="region" aria-label="Each worker's life, a table">
      <table className="data">
        <caption className="hidden">Each worker's life</caption>
        <thead>
          <tr>
            {["Worker", "State", "Started", "Trained from", "Ended", "Lived", "Why it ended", "Node", ""].map((head) => (
              <th key={head} scope="col">
                {head}
              </th>
            ))}
          </tr>
        </thead>
        <tbody>
          {timeline.workers.map((life) => (
            <tr key={`${life.attempt}-${life.worker}`}>
              <td>
                {life.worker} <span className="faint small">attempt {life.attempt}</span>
              </td>
              <td>
                <span className={`status tone-${workerTone(life.state)}`}>
                  <i className="dot" aria-hidden="true" />
                  {life.state}
                </span>
              </td>
              <td>{moment(life.started)}</td>
              <td>{moment(life.joined)}</td>
              <td>{moment(life.ended)}</td>
              <td>{life.started && life.ended ? duration((Date.parse(life.ended) - Date.parse(life.started)) / 1000) : "–"}</td>
              <td>{life.why ?? "–"}</td>
              <td className="mono">{life.node_id?.slice(0, 12) ?? "–"}</td>
              <td>{onSteer && isPresent(life.state) && <WorkerButtons worker={life.worker} onSteer={onSteer} />}</td>
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}
