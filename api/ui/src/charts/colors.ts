/** Colours of the theme that is on, for canvases, which know no CSS variables. */
export const SERIES = ["--c1", "--c2", "--c3", "--c4", "--c5", "--c6", "--c7", "--c8"] as const;

export function color(name: string): string {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}

export function seriesColor(index: number): string {
  return color(SERIES[index % SERIES.length]!);
}
