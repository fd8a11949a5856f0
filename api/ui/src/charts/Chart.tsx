/** A chart of columns over steps, painted by uPlot, with the same numbers as a table for whoever cannot see it. */
import { useEffect, useMemo, useRef } from "react";
import uPlot from "uplot";
import "uplot/dist/uPlot.min.css";
import "../styles/charts.css";
import { useTheme } from "../lib/theme";
import { type ChartStyle, type Line, type Mark, optionsOf } from "./options";

interface ChartProps extends ChartStyle {
  /** What it shows, in words. */
  label: string;
  x: number[];
  lines: Line[];
  marks?: readonly Mark[];
  /** Told of what was marked with the mouse; without it the chart itself goes nearer. */
  onZoom?: (from: number, to: number) => void;
  onReset?: () => void;
}

export function Chart({ label, x, lines, marks = [], onZoom, onReset, ...style }: ChartProps) {
  const place = useRef<HTMLDivElement>(null);
  const plot = useRef<uPlot | null>(null);
  const theme = useTheme();
  const now = useRef({ marks, onZoom, data: [] as unknown as uPlot.AlignedData });
  now.current = { marks, onZoom, data: [x, ...lines.map((line) => line.values)] as uPlot.AlignedData };
  // What needs a new plot; numbers alone do not.
  const shape = useMemo(
    () => JSON.stringify([lines.map(({ values, ...line }) => ({ ...line, many: values.length > 60 })), style, theme]),
    [lines, style, theme],
  );

  useEffect(() => {
    const where = place.current;
    if (!where) return;
    const zoom = onZoom ? (from: number, to: number) => now.current.onZoom?.(from, to) : undefined;
    const options = optionsOf(lines, style, where.clientWidth || 400, () => now.current.marks, zoom);
    const made = new uPlot(options, now.current.data, where);
    plot.current = made;
    const resized = new ResizeObserver(() => made.setSize({ width: where.clientWidth, height: style.height }));
    resized.observe(where);
    return () => {
      resized.disconnect();
      made.destroy();
      plot.current = null;
    };
  }, [shape, !onZoom]);

  useEffect(() => {
    plot.current?.setData(now.current.data);
  }, [x, lines, shape]);
  useEffect(() => plot.current?.redraw(false), [marks]);

  return <div className="chart" ref={place} role="img" aria-label={label} onDoubleClick={onReset} />;
}
