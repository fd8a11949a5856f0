import type { ReactNode } from "react";
import { Refusal } from "../api/client";

/** Why something cannot be shown: the sentence of the service and its hint. */
export function Trouble({ error, again }: { error: unknown; again?: () => void }): ReactNode {
  const message = error instanceof Error ? error.message : String(error);
  const hint = error instanceof Refusal ? error.hint : "";
  return (
    <div className="callout bad-callout" role="alert">
      <div className="grow">
        {message}
        {hint && <div className="small">{hint}</div>}
      </div>
      {again && (
        <button type="button" className="button" onClick={again}>
          Try again
        </button>
      )}
    </div>
  );
}
