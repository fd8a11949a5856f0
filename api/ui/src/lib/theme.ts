/** Light or dark, as <html data-theme> says: it is set by public/theme.js before the first paint, and by the button. */
import { useSyncExternalStore } from "react";

export type Theme = "light" | "dark";

const CHANGED = "tumbler-theme";
const KEY = "tumbler-theme";

export function useTheme(): Theme {
  return useSyncExternalStore(subscribe, () => document.documentElement.dataset.theme as Theme);
}

/** What is also the theme of the system is not kept: it may follow that again. */
export function setTheme(theme: Theme): void {
  document.documentElement.dataset.theme = theme;
  const system = matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light";
  try {
    if (theme === system) localStorage.removeItem(KEY);
    else localStorage.setItem(KEY, theme);
  } catch {
    // No storage: until the page is loaded again.
  }
  dispatchEvent(new Event(CHANGED));
}

function subscribe(listener: () => void): () => void {
  addEventListener(CHANGED, listener);
  return () => removeEventListener(CHANGED, listener);
}
