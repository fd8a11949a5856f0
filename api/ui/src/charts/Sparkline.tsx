/** A curve in a line of text. */
import { memo } from "react";
import type { Series } from "../lib/series";

const WIDTH = 96;
const HEIGHT = 22;

export const Sparkline = memo(function Sparkline({ series, name }: { series: Series | undefined; name: string }) {
  const path = series && pathOf(series.step, series.values[name] ?? []);
  if (!path) return <span className="sparkline" aria-hidden="true" />;
  return (
    <svg className="sparkline" viewBox={`0 0 ${WIDTH} ${HEIGHT}`} width={WIDTH} height={HEIGHT} aria-hidden="true">
      <path d={path} />
    </svg>
  );
});

/** Null where there are not two points. */
export function pathOf(step: readonly number[], values: readonly (number | null)[]): string | null {
  const points = step.flatMap((x, at) => (values[at] === null || values[at] === undefined ? [] : [[x, values[at]] as const]));
  if (points.length < 2) return null;
  const ys = points.map(([, y]) => y);
  const [low, high] = [Math.min(...ys), Math.max(...ys)];
  const [left, right] = [points[0]![0], points.at(-1)![0]];
  const x = (value: number) => (((value - left) / (right - left || 1)) * (WIDTH - 2) + 1).toFixed(1);
  const y = (value: number) => (HEIGHT - 2 - ((value - low) / (high - low || 1)) * (HEIGHT - 4)).toFixed(1);
  return points.map(([px, py], at) => `${at ? "L" : "M"}${x(px)} ${y(py)}`).join("");
}
