import { useMemo } from "react";
import type { RunDetail } from "../../api/types";
import { differences } from "../../lib/specDiff";
import { Empty, Panel } from "../../ui/Panel";
import { Table } from "../../ui/Table";

export function SpecDifference({ runs }: { runs: RunDetail[] }) {
  const rows = useMemo(() => differences(runs.map((run) => run.spec)).filter((row) => row.field !== "name"), [runs]);
  return (
    <Panel title="Spec difference" note={rows.length ? `${rows.length} ${rows.length === 1 ? "field" : "fields"}` : undefined} cli={runs[0] && `tumbler get ${runs[0].name} -o yaml`} flush>
      {rows.length === 0 ? (
        <Empty>{runs.length < 2 ? "Add another run." : "But for their names, the specs are the same."}</Empty>
      ) : (
        <Table label="Spec difference" heads={["Field", ...runs.map((run) => run.name)]} className="spec-difference">
          {rows.map(({ field, values }) => (
            <tr key={field}>
              <th scope="row" className="mono">
                {field}
              </th>
              {values.map((value, index) => (
                <td key={runs[index]!.id} className={`mono${value === values[0] ? "" : " differs"}`}>
                  {value ?? <span className="faint">not there</span>}
                </td>
              ))}
            </tr>
          ))}
        </Table>
      )}
    </Panel>
  );
}
