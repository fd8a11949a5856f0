/** What there is, what runs where, who may have how much. */
import { useInfiniteQuery, useQueries, useQuery } from "@tanstack/react-query";
import { useMemo, useState } from "react";
import { isPassing } from "../../api/client";
import { clusterGoodputQuery, filterOf, nodesQuery, queuesQuery, runsQuery, workersQuery } from "../../api/queries";
import type { NodeShown, Queue, Run, Worker } from "../../api/types";
import { count, duration, percent } from "../../lib/format";
import { isPresent } from "../../lib/status";
import { useTitle } from "../../lib/title";
import { useRunsFeed } from "../../live/useRunsFeed";
import { Empty, Panel } from "../../ui/Panel";
import { Trouble } from "../../ui/Trouble";
import { GoodputBars } from "../run/GoodputPanel";
import { NodeDialog, type NodeVerb } from "./NodeDialog";
import { type Seat, NodesTable } from "./NodesTable";
import { QueueDialog } from "./QueueDialog";
import { QueuesTable } from "./QueuesTable";
import "../../styles/cluster.css";

const EVERY_MS = 5000;
const ACTIVE = filterOf({ status: "active" });

export function ClusterPage() {
  useTitle("Cluster");
  useRunsFeed();
  const nodes = useQuery({ ...nodesQuery, refetchInterval: EVERY_MS });
  const queues = useQuery({ ...queuesQuery, refetchInterval: EVERY_MS });
  const [asked, setAsked] = useState<{ node: NodeShown; verb: NodeVerb } | null>(null);
  const [queue, setQueue] = useState<Queue | "new" | null>(null);
  const seats = useSeats();
  return (
    <>
      <div className="row page-title">
        <h1>Cluster</h1>
        {nodes.data && <span className="faint num">{told(nodes.data)}</span>}
      </div>
      <div className="cluster">
        <Panel title="Nodes" note="what runs where" cli="tumbler nodes ls" api="/cluster/nodes" flush>
          {nodes.error && (
            <div className="panel-note">
              <Trouble error={nodes.error} again={isPassing(nodes.error) ? () => void nodes.refetch() : undefined} />
            </div>
          )}
          {nodes.data ? (
            <NodesTable nodes={nodes.data} seats={seats} onVerb={(node, verb) => setAsked({ node, verb })} />
          ) : (
            !nodes.error && <Empty>Looking…</Empty>
          )}
        </Panel>
        <Panel
          title="Queues"
          note="what their runs hold, of what they may"
          cli="tumbler queues ls"
          api="/queues"
          tools={
            <button type="button" className="quiet" onClick={() => setQueue("new")}>
              New queue
            </button>
          }
          flush
        >
          {queues.error && !queues.data && <Trouble error={queues.error} again={() => void queues.refetch()} />}
          {queues.data?.length === 0 && <Empty>No queue has a quota or a run.</Empty>}
          {queues.data && queues.data.length > 0 && <QueuesTable queues={queues.data} onEdit={setQueue} />}
        </Panel>
        <ClusterGoodputPanel />
      </div>
      {asked && <NodeDialog {...asked} onClose={() => setAsked(null)} />}
      {queue && <QueueDialog queue={queue === "new" ? null : queue} onClose={() => setQueue(null)} />}
    </>
  );
}

function ClusterGoodputPanel() {
  const [wanted, setWanted] = useState(false);
  const found = useQuery({ ...clusterGoodputQuery, enabled: wanted });
  const button = (
    <button type="button" className="quiet" onClick={() => (wanted ? void found.refetch() : setWanted(true))} disabled={found.isFetching}>
      {found.isFetching ? "Reading…" : found.data ? "Again" : "Add it up"}
    </button>
  );
  return (
    <Panel title="Goodput of all runs" cli="tumbler goodput" api="/cluster/goodput" tools={button}>
      {found.error && !found.data ? (
        <Trouble error={found.error} />
      ) : found.data ? (
        <>
          <p className="soft cluster-told">
            {percent(found.data.cluster.goodput)} of {duration(found.data.cluster.worker_s)} granted to the workers of {count(found.data.runs)} runs were productive.
          </p>
          <GoodputBars spent={found.data.cluster as Parameters<typeof GoodputBars>[0]["spent"]} />
        </>
      ) : (
        <Empty>{found.isFetching ? "Reading the records of all runs…" : "Reads the records of all runs: asked for when you want it."}</Empty>
      )}
    </Panel>
  );
}

/** Which worker of which run sits on which node: from the runs that are active. */
function useSeats(): Map<string, Seat[]> {
  const runs = useInfiniteQuery(runsQuery(ACTIVE)).data?.pages.flatMap((page) => page.runs) ?? [];
  const answers = useQueries({ queries: runs.map((run) => ({ ...workersQuery(run.id), refetchInterval: EVERY_MS })) });
  const newest = answers.map((answer) => answer.dataUpdatedAt).join();
  return useMemo(() => seatsOf(runs, answers.map((answer) => answer.data ?? [])), [newest, runs.map((run) => run.id).join()]);
}

function seatsOf(runs: readonly Run[], workers: readonly Worker[][]): Map<string, Seat[]> {
  const seats = new Map<string, Seat[]>();
  runs.forEach((run, index) => {
    for (const worker of workers[index] ?? []) {
      if (!worker.node_id || worker.attempt !== run.attempt || !isPresent(worker.state)) continue;
      seats.set(worker.node_id, [...(seats.get(worker.node_id) ?? []), { run, worker }]);
    }
  });
  return seats;
}

function told(nodes: readonly NodeShown[]): string {
  const alive = nodes.filter((node) => node.alive);
  const cpus = alive.reduce((sum, node) => sum + (node.resources.CPU ?? 0), 0);
  const gpus = alive.reduce((sum, node) => sum + (node.resources.GPU ?? 0), 0);
  return `${alive.length} nodes, ${count(cpus)} CPU${gpus ? `, ${count(gpus)} GPU` : ""}`;
}
