import type { Timeline } from "../../api/types";
import { duration, moment } from "../../lib/format";
import { isPresent, workerTone } from "../../lib/status";
import { Toned } from "../../ui/Status";
import { hidden, Table } from "../../ui/Table";
import { type AskedOf, WorkerButtons } from "./WorkersPanel";

const HEADS = ["Worker", "State", "Started", "Trained from", "Ended", "Lived", "Why it ended", "Node", hidden("What can be done")];

/** The Gantt as a table. */
export function LivesTable({ timeline, onSteer }: { timeline: Timeline; onSteer?: (asked: AskedOf) => void }) {
  return (
    <Table label="Each worker's life" heads={HEADS}>
      {timeline.workers.map((life) => (
        <tr key={`${life.attempt}-${life.worker}`}>
          <td>
            {life.worker} <span className="faint small">attempt {life.attempt}</span>
          </td>
          <td>
            <Toned tone={workerTone(life.state)}>{life.state}</Toned>
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
    </Table>
  );
}
