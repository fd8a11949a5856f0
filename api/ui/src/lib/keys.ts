/** Keys of a page: one, or two after another such as `g r`. Not while somebody types or a dialog is open. */
import { useEffect, useRef } from "react";

export type Keys = Record<string, () => void>;
const TOGETHER_MS = 900;

export function useKeys(keys: Keys): void {
  const current = useRef(keys);
  useEffect(() => {
    current.current = keys;
  });
  useEffect(() => {
    const match = matcher();
    const onKey = (event: KeyboardEvent) => {
      if (event.metaKey || event.ctrlKey || event.altKey || event.defaultPrevented || isBusy(event.target)) return;
      const act = match(event.key, event.timeStamp, current.current);
      if (act) {
        event.preventDefault();
        act();
      }
    };
    addEventListener("keydown", onKey);
    return () => removeEventListener("keydown", onKey);
  }, []);
}

/** Takes keys as they come, and gives what they mean; remembers the first of two. */
export function matcher(): (key: string, atMs: number, keys: Keys) => (() => void) | undefined {
  let first = "";
  let firstMs = 0;
  return (key, atMs, keys) => {
    const both = first && atMs - firstMs < TOGETHER_MS ? keys[`${first} ${key}`] : undefined;
    first = key;
    firstMs = atMs;
    if (both) first = "";
    return both ?? keys[key];
  };
}

function isBusy(target: EventTarget | null): boolean {
  const element = target instanceof HTMLElement ? target : null;
  if (document.querySelector("dialog[open]")) return true;
  return !!element && (element.isContentEditable || /^(INPUT|TEXTAREA|SELECT)$/.test(element.tagName));
}
