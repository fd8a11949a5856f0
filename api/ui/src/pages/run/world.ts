/** How many workers trained at which step: from the generations, which are exact however long the run is. */
import type { Generation } from "../../api/types";
import { color } from "../../charts/colors";
import type { Line } from "../../charts/options";
import { countUntil, type Series } from "../../lib/series";

/** At the steps of the series, so that all charts of a run have one axis. */
export function worldOf(generations: readonly Generation[], series: Series): { x: number[]; lines: Line[] } {
  const world = sizes(generations, series);
  const line = { label: "workers", values: world, color: color("--c6"), stepped: true, fill: `${color("--c6")}22` };
  return { x: series.step, lines: [line] };
}

/**
 * Of each step of the series: what the newest generation that went on from before it had. Where a later one began at
 * an earlier step, what came before it was undone.
 */
export function sizes(generations: readonly Generation[], series: Series): (number | null)[] {
  if (!generations.length) return series.values.workers ?? series.step.map(() => null);
  const found: (number | null)[] = series.step.map(() => null);
  for (const generation of generations) {
    for (let at = countUntil(series.step, generation.step); at < found.length; at++) found[at] = generation.workers.length;
  }
  return found;
}
