/** Curves of several runs on one axis. */
import type { Series } from "./series";

/** All steps that any of them has, and of each its values there; null where it has none. */
export function joined(all: readonly (Series | undefined)[], key: string): { x: number[]; columns: (number | null)[][] } {
  const x = [...new Set(all.flatMap((series) => series?.step ?? []))].sort((a, b) => a - b);
  const place = new Map(x.map((step, at) => [step, at]));
  const columns = all.map((series) => {
    const column: (number | null)[] = x.map(() => null);
    series?.step.forEach((step, at) => {
      column[place.get(step)!] = series.values[key]?.[at] ?? null;
    });
    return column;
  });
  return { x, columns };
}
