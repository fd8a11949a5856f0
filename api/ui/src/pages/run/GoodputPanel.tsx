/** Where the worker-seconds went, by cause: they add up. */
import { useQuery } from "@tanstack/react-query";
import { Refusal, runPath } from "../../api/client";
import { goodputQuery } from "../../api/queries";
import type { Goodput, RunDetail } from "../../api/types";
import { count, duration, percent } from "../../lib/format";
import { isActive } from "../../lib/status";
import { Empty, Panel } from "../../ui/Panel";
import { Trouble } from "../../ui/Trouble";
import "../../styles/goodput.css";

const EVERY_MS = 5000;
const WORDS: readonly [string, string, string][] = [
  ["productive", "Productive", "steps done for the first time, and evaluation"],
  ["repeated", "Repeated", "steps that were done once, and lost"],
  ["start", "Start", "from a worker's place to its first generation"],
  ["resize", "Resize", "between two generations where nobody was lost"],
  ["recovery", "Recovery", "the same where somebody was lost"],
  ["input_wait", "Input wait", "waiting for rows"],
  ["checkpoint", "Checkpoint", "training held up while the state is copied"],
  ["idle", "Idle", "ready, while places for others are waited for"],
];

export function GoodputPanel({ run }: { run: RunDetail }) {
  const found = useQuery({ ...goodputQuery(run.id), refetchInterval: isActive(run.status) ? EVERY_MS : false });
  const absent = found.error instanceof Refusal && found.error.status === 404;
  return (
    <Panel
      id="goodput"
      title="Goodput"
      note={found.data && `${percent(found.data.goodput)} of ${duration(found.data.worker_s)} granted to workers were productive`}
      cli={`tumbler goodput ${run.name}`}
      api={runPath(run.name, "/goodput")}
    >
      {found.data && found.data.worker_s > 0 ? (
        <GoodputBars spent={found.data} />
      ) : absent || found.data ? (
        <Empty>No worker had a place yet.</Empty>
      ) : found.error ? (
        <Trouble error={found.error} again={() => void found.refetch()} />
      ) : (
        <Empty>Looking…</Empty>
      )}
    </Panel>
  );
}

export function GoodputBars({ spent }: { spent: Pick<Goodput, "buckets" | "worker_s" | "queue_s" | "steps" | "steps_repeated"> }) {
  const buckets = (spent.buckets ?? {}) as Record<string, number>;
  const whole = spent.worker_s || 1;
  const there = WORDS.filter(([name]) => (buckets[name] ?? 0) > 0);
  return (
    <div className="goodput">
      <div className="goodput-bar" role="img" aria-label={there.map(([name, word]) => `${word} ${percent(buckets[name]! / whole)}`).join(", ")}>
        {there.map(([name, word]) => (
          <i key={name} className={`bucket-${name}`} style={{ flexGrow: buckets[name] }} title={`${word}: ${percent(buckets[name]! / whole)}`} />
        ))}
      </div>
      <dl className="goodput-key">
        {there.map(([name, word, told]) => (
          <div key={name} title={told}>
            <dt>
              <i className={`swatch bucket-${name}`} aria-hidden="true" />
              {word}
            </dt>
            <dd className="num">
              {percent(buckets[name]! / whole)} <span className="faint small">{duration(buckets[name])}</span>
            </dd>
          </div>
        ))}
        <div title="seconds in which no worker had a place">
          <dt>In the queue</dt>
          <dd className="num">{duration(spent.queue_s)}</dd>
        </div>
        <div title="steps that were done, and done again">
          <dt>Steps repeated</dt>
          <dd className="num">
            {count(spent.steps_repeated)} <span className="faint small">of {count(spent.steps)}</span>
          </dd>
        </div>
      </dl>
    </div>
  );
}
