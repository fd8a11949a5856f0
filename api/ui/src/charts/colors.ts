/** Colours of the theme that is on, for canvases, which know no CSS variables. */
import { useSyncExternalStore } from "react";

export const SERIES = ["--c1", "--c2", "--c3", "--c4", "--c5", "--c6", "--c7", "--c8"] as const;

export function color(name: string): string {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}

export function seriesColor(index: number): string {
  return color(SERIES[index % SERIES.length]!);
}

/** Changes when the theme does, so that what is painted can be painted again. */
export function useTheme(): string {
  return useSyncExternalStore(subscribe, () => color("--page"));
}

function subscribe(listener: () => void): () => void {
  const system = matchMedia("(prefers-color-scheme: dark)");
  system.addEventListener("change", listener);
  addEventListener("tumbler-theme", listener);
  return () => {
    system.removeEventListener("change", listener);
    removeEventListener("tumbler-theme", listener);
  };
}
