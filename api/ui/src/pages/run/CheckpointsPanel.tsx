import { useMutation, useQuery } from "@tanstack/react-query";
import { useState } from "react";
import { API, Refusal, runPath } from "../../api/client";
import { checkpointsQuery } from "../../api/queries";
import type { Checkpoint, RunDetail } from "../../api/types";
import { verifyCheckpoint } from "../../api/verbs";
import { bytes, count, moment, number } from "../../lib/format";
import { Empty, Panel } from "../../ui/Panel";
import { hidden, right, Table } from "../../ui/Table";
import { Trouble } from "../../ui/Trouble";
import { toastError } from "../../ui/toasts";

const FEW = 12;
const HEADS = [right("Step"), "Committed", right("Size"), right("Loss"), "Parameters", "Seen", hidden("What can be done")];

export function CheckpointsPanel({ run }: { run: RunDetail }) {
  const found = useQuery(checkpointsQuery(run.id));
  const [all, setAll] = useState(false);
  const absent = found.error instanceof Refusal && found.error.status === 404;
  const rows = found.data ?? [];
  const shown = all ? rows : rows.slice(0, FEW);
  return (
    <Panel
      id="checkpoints"
      title="Checkpoints"
      note={found.data && count(rows.length)}
      cli={`tumbler checkpoint ls ${run.name}`}
      api={runPath(run.name, "/checkpoints")}
      flush
    >
      {found.error && !absent && !found.data && <Trouble error={found.error} again={() => void found.refetch()} />}
      {(absent || (found.data && !rows.length)) && <Empty>None was written yet.</Empty>}
      {shown.length > 0 && (
        <Table label="Checkpoints" heads={HEADS}>
          {shown.map((one) => (
            <Row key={one.name} run={run} checkpoint={one} />
          ))}
        </Table>
      )}
      {rows.length > shown.length && (
        <button type="button" className="quiet more" onClick={() => setAll(true)}>
          Show all {count(rows.length)}
        </button>
      )}
    </Panel>
  );
}

function Row({ run, checkpoint }: { run: RunDetail; checkpoint: Checkpoint }) {
  const check = useMutation({ mutationFn: () => verifyCheckpoint(run.id, checkpoint.step), onError: toastError });
  const { step, problem } = checkpoint;
  const loss = checkpoint.metrics.val_loss ?? checkpoint.metrics.loss;
  return (
    <tr>
      <td className="right">{count(step)}</td>
      <td className="whole">
        {moment(checkpoint.committed)}
        <div className="faint small">
          attempt {checkpoint.attempt}, generation {checkpoint.generation}
        </div>
      </td>
      <td className="right">{bytes(checkpoint.size)}</td>
      <td className="right">{number(loss)}</td>
      <td className="mono" title={checkpoint.parameters_sha256 ?? ""}>
        {checkpoint.parameters_sha256?.slice(0, 12) ?? "–"}
      </td>
      <td className="seen" aria-live="polite">
        {check.isPending ? (
          <span className="row soft">
            <i className="spinner" aria-hidden="true" /> reading
          </span>
        ) : check.data ? (
          <span className={check.data.ok ? "good" : "bad"}>{check.data.ok ? "whole: every byte was read" : check.data.problem}</span>
        ) : problem ? (
          <span className="bad">{problem}</span>
        ) : (
          <span className="soft">nothing wrong</span>
        )}
      </td>
      <td className="right">
        <span className="worker-buttons">
          <button type="button" className="quiet" onClick={() => check.mutate()} disabled={check.isPending} aria-label={`Verify the checkpoint of step ${step}`}>
            verify
          </button>
          <a className="quiet" href={`${API}${runPath(run.name, `/checkpoints/${step}/export`)}`} download aria-label={`Export the model of step ${step}`}>
            export
          </a>
        </span>
      </td>
    </tr>
  );
}
