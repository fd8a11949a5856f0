import { Link } from "@tanstack/react-router";
import type { NodeShown, Run, Worker } from "../../api/types";
import { bytes, tick } from "../../lib/format";
import { workerTone } from "../../lib/status";
import { Toned } from "../../ui/Status";
import { hidden, Table } from "../../ui/Table";
import type { NodeVerb } from "./NodeDialog";

export interface Seat {
  run: Run;
  worker: Worker;
}

interface NodesTableProps {
  nodes: NodeShown[];
  seats: Map<string, Seat[]>;
  onVerb: (node: NodeShown, verb: NodeVerb) => void;
}

export function NodesTable({ nodes, seats, onVerb }: NodesTableProps) {
  return (
    <Table label="Nodes" heads={["Node", "State", "Has", "Workers there", hidden("What can be done")]}>
      {nodes.map((node) => (
        <tr key={node.id}>
          <td>
            <b>{node.hostname}</b> {node.head && <span className="chip">head</span>}
            <div className="faint small mono">
              {node.address} · {node.id.slice(0, 12)}
            </div>
          </td>
          <td>
            <State node={node} />
          </td>
          <td className="soft">{resources(node.resources)}</td>
          <td>
            <Seats seats={seats.get(node.id) ?? []} />
          </td>
          <td className="right">{node.alive && <Verbs node={node} onVerb={onVerb} />}</td>
        </tr>
      ))}
    </Table>
  );
}

function State({ node }: { node: NodeShown }) {
  if (!node.alive) return <Toned tone="bad">gone</Toned>;
  if (node.draining) return <Toned tone="warn">draining</Toned>;
  return node.cordoned ? <Toned tone="calm">cordoned</Toned> : <Toned tone="good">open</Toned>;
}

function Seats({ seats }: { seats: Seat[] }) {
  if (!seats.length) return <span className="faint">none</span>;
  return (
    <span className="row wrap seats">
      {seats.map(({ run, worker }) => (
        <Link key={`${run.id}${worker.worker}`} to="/runs/$ref" params={{ ref: run.name }} className="chip seat" title={`${worker.worker} of ${run.name}: ${worker.state}`}>
          <i className={`dot tone-${workerTone(worker.state)}`} aria-hidden="true" />
          {run.name} {worker.worker}
        </Link>
      ))}
    </span>
  );
}

function Verbs({ node, onVerb }: { node: NodeShown; onVerb: (node: NodeShown, verb: NodeVerb) => void }) {
  const closed = node.cordoned || node.draining;
  const verbs: NodeVerb[] = [...(closed ? (["uncordon"] as const) : (["cordon"] as const)), ...(node.head || node.draining ? [] : (["drain"] as const))];
  return (
    <span className="row verbs">
      {verbs.map((verb) => (
        <button key={verb} type="button" className="button" onClick={() => onVerb(node, verb)} aria-label={`${verb} ${node.hostname}`}>
          {verb.charAt(0).toUpperCase() + verb.slice(1)}
        </button>
      ))}
    </span>
  );
}

export function resources(found: Record<string, number>): string {
  const parts = Object.entries(found)
    .filter(([kind]) => !kind.startsWith("node:") && kind !== "object_store_memory")
    .map(([kind, much]) => (kind === "memory" ? bytes(much) : `${tick(much)} ${kind}`));
  return parts.join(", ") || "–";
}
