import { useState } from "react";
import { count, number } from "../lib/format";
import { thinned } from "../lib/series";
import type { Line } from "./options";

const ROWS = 100;

/** The numbers of a chart, at most a hundred rows of them. */
export function ChartTable({ x, lines, caption }: { x: number[]; lines: Line[]; caption: string }) {
  const shown = lines.filter((line) => !line.quiet);
  const all = { step: x, values: Object.fromEntries(shown.map((line) => [line.label, line.values])) };
  const some = thinned(all, ROWS);
  return (
    <div className="scroll-y chart-table" tabIndex={0} role="region" aria-label={caption}>
      <table className="data">
        <caption className="hidden">{caption}</caption>
        <thead>
          <tr>
            <th scope="col">step</th>
            {shown.map((line) => (
              <th scope="col" className="right" key={line.label}>
                {line.label}
              </th>
            ))}
          </tr>
        </thead>
        <tbody>
          {some.step.map((step, row) => (
            <tr key={step}>
              <th scope="row">{count(step)}</th>
              {shown.map((line) => (
                <td className="right" key={line.label}>
                  {number(some.values[line.label]![row], 6)}
                </td>
              ))}
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}

export function useTable(): [boolean, React.ReactNode] {
  const [table, setTable] = useState(false);
  return [
    table,
    <button key="table" type="button" className="quiet" aria-pressed={table} onClick={() => setTable(!table)}>
      Table
    </button>,
  ];
}
