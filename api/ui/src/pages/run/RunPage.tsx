/** One run on one page: is it healthy, why does it wait, what happened. */
import { useQuery } from "@tanstack/react-query";
import { Link, useParams } from "@tanstack/react-router";
import { useState } from "react";
import { Refusal } from "../../api/client";
import { runQuery } from "../../api/queries";
import type { RunDetail } from "../../api/types";
import { useTitle } from "../../lib/title";
import type { LogTail } from "../../live/logTail";
import { useRunFeed } from "../../live/useRunFeed";
import { Empty } from "../../ui/Panel";
import { Trouble } from "../../ui/Trouble";
import { AuditPanel } from "./AuditPanel";
import { CheckpointsPanel } from "./CheckpointsPanel";
import { Curves } from "./Curves";
import { EventsPanel } from "./EventsPanel";
import { GoodputPanel } from "./GoodputPanel";
import { Head } from "./Head";
import { LogsPanel } from "./LogsPanel";
import { SpecPanel } from "./SpecPanel";
import { WorkersPanel } from "./WorkersPanel";
import "../../styles/records.css";
import "../../styles/run.css";

const WAIT_MS = 4000;

export function RunPage() {
  const { ref } = useParams({ from: "/runs/$ref" });
  return <OneRun key={ref} name={ref} />;
}

function OneRun({ name }: { name: string }) {
  useTitle(name);
  const found = useQuery({
    ...runQuery(name),
    // Why it waits is told by GET alone, and changes with what others do.
    refetchInterval: ({ state }) => (state.data?.status === "QUEUED" || state.data?.wait ? WAIT_MS : false),
  });
  const [tail, setTail] = useState<LogTail | null>(null);
  const { trouble, deleted } = useRunFeed(name, found.data, tail);
  if (found.error && !found.data) {
    return found.error instanceof Refusal && found.error.status === 404 ? (
      <>
        <h1>{name}</h1>
        <Empty>
          {found.error.message}.{" "}
          <Link to="/" className="link">
            All runs
          </Link>
        </Empty>
      </>
    ) : (
      <Trouble error={found.error} again={() => void found.refetch()} />
    );
  }
  if (!found.data) return <Empty>Looking…</Empty>;
  return (
    <>
      <Head run={found.data} />
      {deleted && <p className="callout">This run was deleted; what you see is what was known of it.</p>}
      <Told run={found.data} trouble={trouble} />
      <Places />
      <Parts run={found.data} onTail={setTail} />
    </>
  );
}

/** Why it waits, why it failed: the sentences that come first. */
function Told({ run, trouble }: { run: RunDetail; trouble: string | null }) {
  const { wait, message, status } = run;
  const place = wait?.position ? `Number ${wait.position} in the queue. ` : "";
  return (
    <div className="told" aria-live="polite">
      {wait?.why && (
        <p className="callout">
          <span>
            <b>{status === "QUEUED" ? "Why it waits:" : "Why it has no more workers:"}</b> {place}
            {wait.why}
          </span>
        </p>
      )}
      {message && <p className={`callout${status === "FAILED" ? " bad-callout" : ""}`}>{message}</p>}
      {trouble && <p className="callout bad-callout">{trouble}</p>}
    </div>
  );
}

const PLACES = ["Curves", "Workers", "Goodput", "Events", "Logs", "Checkpoints", "Audit", "Spec"] as const;

function Places() {
  return (
    <nav className="places" aria-label="Parts of this page">
      {PLACES.map((place) => (
        <a key={place} href={`#${place.toLowerCase()}`}>
          {place}
        </a>
      ))}
    </nav>
  );
}

function Parts({ run, onTail }: { run: RunDetail; onTail: (tail: LogTail | null) => void }) {
  return (
    <div className="parts">
      <Curves run={run} />
      <WorkersPanel run={run} />
      <GoodputPanel run={run} />
      <div className="two">
        <EventsPanel run={run} />
        <LogsPanel run={run} onTail={onTail} />
      </div>
      <CheckpointsPanel run={run} />
      <div className="two">
        <AuditPanel run={run} />
        <SpecPanel run={run} />
      </div>
    </div>
  );
}
