/** The proof from durable records that each row was used once. Made when somebody asks, since it reads them all. */
import { useQuery } from "@tanstack/react-query";
import { useState } from "react";
import { Refusal, runPath } from "../../api/client";
import { auditQuery } from "../../api/queries";
import type { Audit, RunDetail } from "../../api/types";
import { count } from "../../lib/format";
import { isOver } from "../../lib/status";
import { Copy } from "../../ui/Copy";
import { Empty, Panel } from "../../ui/Panel";
import { right, Table } from "../../ui/Table";
import { Trouble } from "../../ui/Trouble";

/** Up to so many steps an ended run is audited without being asked. */
const SMALL = 20_000;

export function AuditPanel({ run }: { run: RunDetail }) {
  const [wanted, setWanted] = useState(false);
  const itself = isOver(run.status) && run.step > 0 && run.step <= SMALL;
  const found = useQuery({ ...auditQuery(run.id), enabled: wanted || itself, staleTime: Number.POSITIVE_INFINITY });
  const absent = found.error instanceof Refusal && found.error.status === 404;
  const again = (
    <button type="button" className="quiet" onClick={() => (wanted || itself ? void found.refetch() : setWanted(true))} disabled={found.isFetching}>
      {found.isFetching ? "Reading…" : found.data ? "Audit again" : "Audit now"}
    </button>
  );
  return (
    <Panel id="audit" title="Audit" cli={`tumbler audit ${run.name}`} api={runPath(run.name, "/audit")} tools={again}>
      {absent && !found.data ? (
        <Empty>There is nothing to audit yet: the records are made when the run starts.</Empty>
      ) : found.error && !found.data ? (
        <Trouble error={found.error} />
      ) : found.data ? (
        <Verdict report={found.data} />
      ) : (
        <Empty>{found.isFetching ? "Reading ledger and chain…" : "Checks from the records that every row was used once, and that the chain of hashes holds."}</Empty>
      )}
    </Panel>
  );
}

function Verdict({ report }: { report: Audit }) {
  const problems = report.problems ?? [];
  return (
    <div className="audit">
      <p className={`callout ${report.ok ? "good-callout" : "bad-callout"}`} role="status">
        {report.ok
          ? `Every row was used once, and the chain holds: ${count(report.steps)} steps, ${count(report.chain?.length ?? 0)} links.`
          : `${count(problems.length)} ${problems.length === 1 ? "thing is" : "things are"} wrong.`}
      </p>
      {problems.length > 0 && (
        <ul className="sentences bad">
          {problems.map((one) => (
            <li key={one}>{one}</li>
          ))}
        </ul>
      )}
      {(report.notes ?? []).map((note) => (
        <p key={note} className="soft small">
          {note}
        </p>
      ))}
      {(report.epochs?.length ?? 0) > 0 && (
        <Table label="Rows of each epoch" heads={["Epoch", "Expected", "Used", "Repeated", "Missed"].map(right)} frame="scroll-y epochs">
          {report.epochs?.map((epoch) => (
            <tr key={epoch.epoch}>
              <td className="right">{epoch.epoch}</td>
              <td className="right">{count(epoch.expected)}</td>
              <td className="right">{count(epoch.consumed)}</td>
              <td className={`right ${epoch.repeated ? "bad" : ""}`}>{count(epoch.repeated)}</td>
              <td className={`right ${epoch.missed ? "bad" : ""}`}>{count(epoch.missed)}</td>
            </tr>
          ))}
        </Table>
      )}
      {report.parameters_sha256 && (
        <p className="row small">
          <span className="faint">Parameters</span>
          <code className="clip">{report.parameters_sha256}</code>
          <Copy text={report.parameters_sha256} label="Copy the hash of the parameters" />
        </p>
      )}
    </div>
  );
}
