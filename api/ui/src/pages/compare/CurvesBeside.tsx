import { useMemo, useState } from "react";
import { query, runPath } from "../../api/client";
import type { RunDetail } from "../../api/types";
import { Chart } from "../../charts/Chart";
import { ChartTable, useTable } from "../../charts/ChartTable";
import { seriesColor } from "../../charts/colors";
import { useTheme } from "../../lib/theme";
import { joined } from "../../lib/joined";
import { type Series, smoothed } from "../../lib/series";
import { Empty, Panel } from "../../ui/Panel";

const SMOOTH = [0, 0.6, 0.9] as const;

interface CurvesBesideProps {
  runs: RunDetail[];
  curves: (Series | undefined)[];
  metric: string;
}

export function CurvesBeside({ runs, curves, metric }: CurvesBesideProps) {
  const theme = useTheme();
  const [table, button] = useTable();
  const [smooth, setSmooth] = useState<number>(0);
  const { x, lines } = useMemo(() => {
    const { x, columns } = joined(curves, metric);
    const lines = columns.map((values, index) => ({
      label: runs[index]?.name ?? "",
      values: smoothed(values, smooth),
      color: seriesColor(index),
    }));
    return { x, lines };
  }, [...curves, curves.length, metric, smooth, theme, runs.map((run) => run.name).join()]);
  const tools = (
    <>
      {SMOOTH.map((weight) => (
        <button key={weight} type="button" className="quiet" aria-pressed={smooth === weight} onClick={() => setSmooth(weight)}>
          {weight ? `smooth ${weight}` : "as measured"}
        </button>
      ))}
      {button}
    </>
  );
  const first = runs[0];
  return (
    <Panel
      title={metric}
      cli={first && `tumbler metrics ${first.name} --keys ${metric}`}
      api={first && runPath(first.name, `/metrics${query({ keys: metric })}`)}
      tools={tools}
      className="compare-curves"
    >
      {x.length === 0 ? (
        <Empty>None of them has this metric yet.</Empty>
      ) : table ? (
        <ChartTable x={x} lines={lines} caption={`${metric} by step and run`} />
      ) : (
        <Chart height={360} label={`${metric} of ${runs.map((run) => run.name).join(", ")} over steps. The button Table shows the numbers.`} x={x} lines={lines} />
      )}
    </Panel>
  );
}
