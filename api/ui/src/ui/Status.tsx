import type { Status } from "../api/types";
import { isActive, toneOf } from "../lib/status";

export function StatusDot({ status }: { status: Status }) {
  return <i className={`dot tone-${toneOf(status)}${isActive(status) ? " beats" : ""}`} aria-hidden="true" />;
}

/** Always a word beside the colour. */
export function StatusWord({ status, badge = false }: { status: Status; badge?: boolean }) {
  const word = status.charAt(0) + status.slice(1).toLowerCase();
  return (
    <span className={`status tone-${toneOf(status)}${badge ? " badge" : ""}`}>
      <StatusDot status={status} />
      {word}
    </span>
  );
}
