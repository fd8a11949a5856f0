/** What can be done with the run now; each is asked for once more before it is done. */
import { useState } from "react";
import type { RunDetail } from "../../api/types";
import { type Verb, verbsOf } from "../../lib/status";
import { VerbDialog } from "./VerbDialog";

const WORDS: Record<Verb, string> = {
  scale: "Scale",
  checkpoint: "Checkpoint",
  pause: "Pause",
  resume: "Resume",
  cancel: "Cancel",
  clone: "Clone",
  retry: "Retry",
  delete: "Delete",
};

export function Actions({ run }: { run: RunDetail }) {
  const [verb, setVerb] = useState<Verb | null>(null);
  return (
    <div className="row wrap" role="group" aria-label="Actions">
      {verbsOf(run).map((one) => (
        <button
          key={one}
          type="button"
          className={`button${one === "cancel" || one === "delete" ? " danger" : ""}`}
          onClick={() => setVerb(one)}
        >
          {WORDS[one]}
        </button>
      ))}
      {verb && <VerbDialog run={run} verb={verb} onClose={() => setVerb(null)} />}
    </div>
  );
}
