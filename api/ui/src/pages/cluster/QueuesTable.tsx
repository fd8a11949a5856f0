import { Link } from "@tanstack/react-router";
import type { Queue } from "../../api/types";
import { bytes, count, tick } from "../../lib/format";
import { hidden, right, Table } from "../../ui/Table";

export function QueuesTable({ queues, onEdit }: { queues: Queue[]; onEdit: (queue: Queue) => void }) {
  return (
    <Table label="Queues" heads={["Queue", right("Weight"), right("Running"), right("Waiting"), "Holds, of its quota", hidden("Edit")]}>
      {queues.map((queue) => (
        <tr key={queue.name}>
          <td>
            <Link to="/" search={{ queue: queue.name }} className="plain">
              <b>{queue.name}</b>
            </Link>
          </td>
          <td className="right">{tick(queue.weight)}</td>
          <td className="right">{count(queue.running)}</td>
          <td className="right">{count(queue.waiting)}</td>
          <td>
            <Uses queue={queue} />
          </td>
          <td className="right">
            <button type="button" className="button" onClick={() => onEdit(queue)} aria-label={`Edit queue ${queue.name}`}>
              Edit
            </button>
          </td>
        </tr>
      ))}
    </Table>
  );
}

function Uses({ queue }: { queue: Queue }) {
  const kinds = [...new Set([...Object.keys(queue.quota), ...Object.keys(queue.held)])].filter((kind) => kind in queue.quota || (queue.held[kind] ?? 0) > 0);
  if (!kinds.length) return <span className="faint">nothing, no limit</span>;
  return (
    <ul className="uses">
      {kinds.map((kind) => {
        const held = queue.held[kind] ?? 0;
        const most = queue.quota[kind];
        const full = most !== undefined && held >= most;
        return (
          <li key={kind}>
            <span className="small">
              {kind} {amount(kind, held)}
              <span className="faint"> {most === undefined ? "no limit" : `of ${amount(kind, most)}`}</span>
            </span>
            {most !== undefined && (
              <span className={`meter tone-${full ? "warn" : "live"}`} role="img" aria-label={`${kind}: ${amount(kind, held)} of ${amount(kind, most)}`}>
                <i style={{ width: `${most ? Math.min(100, (held / most) * 100) : 100}%` }} />
              </span>
            )}
          </li>
        );
      })}
    </ul>
  );
}

function amount(kind: string, much: number): string {
  return kind === "memory" ? bytes(much) : tick(much);
}
