import { useConnection } from "../live/connection";

const WORDS = { open: "live", connecting: "connecting", lost: "not connected", ended: "ended", off: "" } as const;
const TONES = { open: "good", connecting: "still", lost: "warn", ended: "still", off: "still" } as const;

export function ConnectionDot() {
  const state = useConnection();
  if (state === "off") return null;
  return (
    <span className="link-state" role="status" aria-label={`Live updates: ${WORDS[state]}`}>
      <i className={`dot tone-${TONES[state]}${state === "open" ? " beats" : ""}`} aria-hidden="true" />
      <span className="words">{WORDS[state]}</span>
    </span>
  );
}

/** There from the moment that the service is not heard any more until it is again. */
export function ConnectionBanner() {
  const state = useConnection();
  return (
    <div role="status" aria-live="polite">
      {state === "lost" && (
        <div className="banner">
          <i className="spinner" aria-hidden="true" />
          Connection lost, trying again. What you see is the newest that was heard.
        </div>
      )}
    </div>
  );
}
