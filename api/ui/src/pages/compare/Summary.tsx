import { Link } from "@tanstack/react-router";
import type { RunDetail } from "../../api/types";
import { SERIES } from "../../charts/colors";
import { count, duration, number, span } from "../../lib/format";
import { useNow } from "../../lib/now";
import { Panel } from "../../ui/Panel";
import { StatusWord } from "../../ui/Status";
import { hidden, right, Table } from "../../ui/Table";

const HEADS = [
  "Run",
  "Status",
  ...["Step", "Loss", "Validation loss", "Generations", "Took"].map(right),
  "Parameters",
  hidden("Remove"),
];

export function Summary({ runs, onRemove }: { runs: RunDetail[]; onRemove: (run: RunDetail) => void }) {
  const now = useNow();
  return (
    <Panel title="Runs" cli={`tumbler ls`} flush>
      <Table label="Runs" heads={HEADS}>
        {runs.map((run, index) => (
          <tr key={run.id}>
            <td>
              <span className="row">
                <i className={`swatch series-${SERIES[index % SERIES.length]!.slice(2)}`} aria-hidden="true" />
                <Link to="/runs/$ref" params={{ ref: run.name }} className="plain">
                  {run.name}
                </Link>
              </span>
            </td>
            <td>
              <StatusWord status={run.status} />
            </td>
            <td className="right">{count(run.step)}</td>
            <td className="right">{number(run.metrics.loss, 5)}</td>
            <td className="right">{number(run.metrics.val_loss, 5)}</td>
            <td className="right">{run.generation}</td>
            <td className="right">{duration(span(run.started, run.ended, now))}</td>
            <td className="mono">{run.parameters_sha256?.slice(0, 12) ?? "–"}</td>
            <td className="right">
              <button type="button" className="quiet" onClick={() => onRemove(run)} aria-label={`Remove ${run.name}`}>
                ×
              </button>
            </td>
          </tr>
        ))}
      </Table>
    </Panel>
  );
}
