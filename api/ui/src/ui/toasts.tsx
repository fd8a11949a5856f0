/** Short messages in the corner, read out by screen readers. */
import { useSyncExternalStore } from "react";
import { Refusal } from "../api/client";

interface Toast {
  id: number;
  text: string;
  hint: string;
  bad: boolean;
}

let shown: readonly Toast[] = [];
let next = 1;
const listeners = new Set<() => void>();

export function toast(text: string, { hint = "", bad = false } = {}): void {
  const id = next++;
  set([...shown, { id, text, hint, bad }]);
  setTimeout(() => dismiss(id), bad ? 12_000 : 5000);
}

export function toastError(error: unknown): void {
  const hint = error instanceof Refusal ? error.hint : "";
  toast(error instanceof Error ? error.message : String(error), { hint, bad: true });
}

function dismiss(id: number): void {
  set(shown.filter((one) => one.id !== id));
}

function set(next: readonly Toast[]): void {
  shown = next;
  for (const listener of listeners) listener();
}

function subscribe(listener: () => void): () => void {
  listeners.add(listener);
  return () => listeners.delete(listener);
}

export function Toasts() {
  const toasts = useSyncExternalStore(subscribe, () => shown);
  return (
    <div className="toasts" role="status" aria-live="polite">
      {toasts.map(({ id, text, hint, bad }) => (
        <div key={id} className={`toast${bad ? " bad-toast" : ""}`}>
          <div className="grow">
            <div>{text}</div>
            {hint && <div className="faint small">{hint}</div>}
          </div>
          <button type="button" className="quiet" onClick={() => dismiss(id)} aria-label="Dismiss">
            ×
          </button>
        </div>
      ))}
    </div>
  );
}
