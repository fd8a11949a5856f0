import { useState } from "react";
import { toast } from "./toasts";

/** Puts a text on the clipboard, and says so. */
export function Copy({ text, label, word }: { text: string; label: string; word?: string }) {
  const [done, setDone] = useState(false);
  const copy = async () => {
    try {
      await navigator.clipboard.writeText(text);
      setDone(true);
      setTimeout(() => setDone(false), 1400);
    } catch {
      // A page that is not on loopback or https has no clipboard: then it can be read and marked.
      toast(text);
    }
  };
  return (
    <button type="button" className="quiet" onClick={copy} aria-label={word ? `${done ? "copied" : word}: ${label}` : label} title={text}>
      {word && <span>{done ? "copied" : word}</span>}
      <svg width="12" height="12" viewBox="0 0 16 16" fill="none" stroke="currentColor" strokeWidth="1.6" aria-hidden="true">
        {done ? <path d="M3 8.5l3.2 3.2L13 5" /> : <path d="M5.5 5.5h8v8h-8zM10.5 5.5v-3h-8v8h3" />}
      </svg>
    </button>
  );
}
