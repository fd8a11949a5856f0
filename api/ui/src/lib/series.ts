/** Metric points as columns: read, added to while a run trains, rewound, thinned out. */
import type { Columns } from "../api/types";

export interface Series {
  step: number[];
  /** Each as long as `step`; null where a step has no such value, or one that is not finite. */
  values: Record<string, (number | null)[]>;
}

/** A record of the metrics journal, as the stream sends it. */
export type Point = Record<string, unknown> & { step: number; kind?: string };

const ABOUT = new Set(["step", "kind", "time", "crc", "seq"]);

export function seriesOf(columns: Columns): Series {
  const values: Series["values"] = {};
  for (const [name, column] of Object.entries(columns)) {
    if (name !== "step") values[name] = column.map(finite);
  }
  return { step: (columns.step ?? []).map(Number), values };
}

function finite(value: unknown): number | null {
  return typeof value === "number" && Number.isFinite(value) ? value : null;
}

/**
 * With the points of the journal that came since, in its order. A point of a known step is merged into it (an
 * evaluation), a `rewind` undoes what came after its step. Columns are those that the series has already.
 */
export function withPoints(series: Series, points: readonly Point[]): Series {
  if (!points.length) return series;
  const step = series.step.slice();
  const names = Object.keys(series.values);
  const values = Object.fromEntries(names.map((name) => [name, series.values[name]!.slice()]));
  for (const point of points) {
    if (point.kind === "rewind") {
      const keep = countUntil(step, point.step);
      step.length = keep;
      for (const name of names) values[name]!.length = keep;
      continue;
    }
    if (point.kind !== undefined && point.kind !== "evaluation") continue;
    let at = countUntil(step, point.step) - 1;
    if (step[at] !== point.step) {
      at += 1;
      step.splice(at, 0, point.step);
      for (const name of names) values[name]!.splice(at, 0, null);
    }
    for (const name of names) {
      if (name in point && !ABOUT.has(name)) values[name]![at] = finite(point[name]);
    }
  }
  return { step, values };
}

/** How many of the ascending steps are not above `limit`. */
export function countUntil(step: readonly number[], limit: number): number {
  let low = 0;
  let high = step.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (step[middle]! <= limit) low = middle + 1;
    else high = middle;
  }
  return low;
}

/** At most `most` points: neighbours become one at the step of the last of them, with the newest value of each. */
export function thinned(series: Series, most: number): Series {
  const count = series.step.length;
  if (count <= most) return series;
  const edges = Array.from({ length: most + 1 }, (_, index) => Math.floor((index * count) / most));
  const step = edges.slice(1).map((edge) => series.step[edge - 1]!);
  const values: Series["values"] = {};
  for (const [name, column] of Object.entries(series.values)) {
    values[name] = edges.slice(1).map((edge, index) => newest(column, edges[index]!, edge));
  }
  return { step, values };
}

/** The last value that is there, of a part of a column. */
export function newest(column: ArrayLike<number | null | undefined>, from = 0, to = column.length): number | null {
  for (let at = to - 1; at >= from; at--) {
    const value = column[at];
    if (value !== null && value !== undefined) return value;
  }
  return null;
}

/** An exponential moving average that starts without bias; gaps stay gaps. `weight` 0 changes nothing. */
export function smoothed(column: readonly (number | null)[], weight: number): (number | null)[] {
  if (weight <= 0) return column.slice();
  let mean = 0;
  let mass = 0;
  return column.map((value) => {
    if (value === null) return null;
    mean = weight * mean + (1 - weight) * value;
    mass = weight * mass + (1 - weight);
    return mean / mass;
  });
}
