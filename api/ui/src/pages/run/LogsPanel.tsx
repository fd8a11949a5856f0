/** What the workers printed: searched by the service, followed by the stream of the run while it lives. */
import { useQuery } from "@tanstack/react-query";
import { useVirtualizer } from "@tanstack/react-virtual";
import { useEffect, useRef, useState } from "react";
import { query, runPath } from "../../api/client";
import { workersQuery } from "../../api/queries";
import type { RunDetail } from "../../api/types";
import { type NumberedLine, lastWriting } from "../../lib/logs";
import { isActive } from "../../lib/status";
import type { LogTail } from "../../live/logTail";
import { Empty, Panel } from "../../ui/Panel";
import { Trouble } from "../../ui/Trouble";
import { useLogs } from "./useLogs";

const ROW = 19;
const NEAR_PX = 40;

export function LogsPanel({ run, onTail }: { run: RunDetail; onTail: (tail: LogTail | null) => void }) {
  const [worker, setWorker] = useState("");
  const [text, setText] = useState("");
  const [q, setQ] = useState("");
  const [follow, setFollow] = useState(true);
  const workers = useQuery(workersQuery(run.id)).data ?? [];
  const active = isActive(run.status);
  const { lines, error } = useLogs({ id: run.id, worker, q, follow, active, attempt: run.attempt, onTail });
  useEffect(() => {
    const timer = setTimeout(() => setQ(text), 250);
    return () => clearTimeout(timer);
  }, [text]);
  const names = [...new Set(workers.filter((one) => one.attempt === run.attempt).map((one) => one.worker))];
  const tools = (
    <>
      <select className="select panel-search" aria-label="Worker" value={worker} onChange={(event) => setWorker(event.target.value)}>
        <option value="">All workers</option>
        {names.map((name) => (
          <option key={name}>{name}</option>
        ))}
      </select>
      <input className="input panel-search" type="search" aria-label="Search logs" placeholder="Search" value={text} onChange={(event) => setText(event.target.value)} />
      {active && (
        <button type="button" className="quiet" aria-pressed={follow} onClick={() => setFollow(!follow)}>
          {follow ? "Following" : "Follow"}
        </button>
      )}
    </>
  );
  return (
    <Panel
      id="logs"
      title="Logs"
      cli={`tumbler logs ${run.name}${worker ? ` --worker ${worker}` : ""}${active ? " -f" : ""}`}
      api={runPath(run.name, `/logs${query({ worker, q })}`)}
      tools={tools}
      flush
    >
      {error ? (
        <Trouble error={error} />
      ) : lines.length ? (
        <Lines lines={lines} follow={follow} onScrolledUp={() => setFollow(false)} onBottom={() => setFollow(true)} />
      ) : (
        <Empty>{q ? "No line contains that." : "Nothing was printed."}</Empty>
      )}
    </Panel>
  );
}

interface LinesProps {
  lines: NumberedLine[];
  follow: boolean;
  onScrolledUp: () => void;
  onBottom: () => void;
}

function Lines({ lines, follow, onScrolledUp, onBottom }: LinesProps) {
  const place = useRef<HTMLDivElement>(null);
  const list = useVirtualizer({
    count: lines.length,
    getScrollElement: () => place.current,
    estimateSize: () => ROW,
    overscan: 30,
    getItemKey: (index) => lines[index]!.number,
  });
  const last = lines.at(-1)?.number;
  useEffect(() => {
    if (follow) list.scrollToIndex(lines.length - 1, { align: "end" });
  }, [follow, last, lines.length, list]);
  const onScroll = () => {
    const where = place.current!;
    const atEnd = where.scrollHeight - where.scrollTop - where.clientHeight < NEAR_PX;
    if (atEnd && !follow) onBottom();
  };
  return (
    <div
      className="scroll-y tall log"
      ref={place}
      tabIndex={0}
      role="log"
      aria-label="Logs"
      onScroll={onScroll}
      onWheel={(event) => event.deltaY < 0 && follow && place.current!.scrollTop > 0 && onScrolledUp()}
    >
      <div style={{ height: list.getTotalSize(), position: "relative" }}>
        {list.getVirtualItems().map((item) => {
          const line = lines[item.index]!;
          return (
            <div
              key={item.key}
              ref={list.measureElement}
              data-index={item.index}
              className="log-line"
              style={{ transform: `translateY(${item.start}px)` }}
            >
              <span className="log-worker">{line.worker}</span>
              <span className="log-text">{lastWriting(line.text) || " "}</span>
            </div>
          );
        })}
      </div>
    </div>
  );
}
