/** Whether the page hears from the service: one value for the whole page. */
import { useSyncExternalStore } from "react";
import type { FeedState } from "./feed";

type State = FeedState | "off";

let state: State = "off";
const listeners = new Set<() => void>();

export function setConnection(next: State): void {
  if (next === state) return;
  state = next;
  for (const listener of listeners) listener();
}

export function useConnection(): State {
  return useSyncExternalStore(subscribe, () => state);
}

function subscribe(listener: () => void): () => void {
  listeners.add(listener);
  return () => listeners.delete(listener);
}
