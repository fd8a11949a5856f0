import type { ReactNode } from "react";
import type { Status } from "../api/types";
import { isActive, type Tone, toneOf } from "../lib/status";

interface TonedProps {
  tone: Tone;
  /** It lives: the dot beats. */
  beats?: boolean;
  badge?: boolean;
  children: ReactNode;
}

/** Always a word beside the colour. */
export function Toned({ tone, beats = false, badge = false, children }: TonedProps) {
  return (
    <span className={`status tone-${tone}${badge ? " badge" : ""}`}>
      <i className={`dot${beats ? " beats" : ""}`} aria-hidden="true" />
      {children}
    </span>
  );
}

export function StatusWord({ status, badge }: { status: Status; badge?: boolean }) {
  return (
    <Toned tone={toneOf(status)} beats={isActive(status)} badge={badge}>
      {status.charAt(0) + status.slice(1).toLowerCase()}
    </Toned>
  );
}
