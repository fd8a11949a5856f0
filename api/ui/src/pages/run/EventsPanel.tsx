/** What happened to the run, the newest first; it comes by the stream of the run. */
import { useQuery } from "@tanstack/react-query";
import { useVirtualizer } from "@tanstack/react-virtual";
import { useMemo, useRef, useState } from "react";
import { runPath } from "../../api/client";
import type { RunDetail, RunEvent } from "../../api/types";
import { clock, count, moment } from "../../lib/format";
import { eventTone } from "../../lib/status";
import { eventsKey } from "../../live/useRunFeed";
import { Empty, Panel } from "../../ui/Panel";

const ROW = 30;

export function EventsPanel({ run }: { run: RunDetail }) {
  const { data: events = [] } = useQuery<RunEvent[]>({
    queryKey: eventsKey(run.id),
    queryFn: () => [],
    enabled: false,
    staleTime: Number.POSITIVE_INFINITY,
  });
  const [text, setText] = useState("");
  const shown = useMemo(() => matching(events, text), [events, text]);
  const search = (
    <input
      className="input panel-search"
      type="search"
      aria-label="Search events"
      placeholder="Search"
      value={text}
      onChange={(event) => setText(event.target.value)}
    />
  );
  return (
    <Panel
      id="events"
      title="Events"
      note={count(events.length)}
      cli={`tumbler events ${run.name}`}
      api={runPath(run.name, "/events")}
      tools={search}
      flush
    >
      {shown.length === 0 ? <Empty>{text ? "No event says that." : "Nothing happened yet."}</Empty> : <EventList events={shown} />}
    </Panel>
  );
}

function EventList({ events }: { events: RunEvent[] }) {
  const place = useRef<HTMLDivElement>(null);
  const list = useVirtualizer({
    count: events.length,
    getScrollElement: () => place.current,
    estimateSize: () => ROW,
    overscan: 12,
    getItemKey: (index) => events[index]!.seq,
  });
  return (
    <div className="scroll-y tall" ref={place} tabIndex={0} role="log" aria-label="Events, the newest first">
      <ol style={{ height: list.getTotalSize(), position: "relative" }}>
        {list.getVirtualItems().map((item) => {
          const event = events[item.index]!;
          return (
            <li
              key={item.key}
              ref={list.measureElement}
              data-index={item.index}
              className="event"
              style={{ transform: `translateY(${item.start}px)` }}
            >
              <EventLine event={event} />
            </li>
          );
        })}
      </ol>
    </div>
  );
}

function EventLine({ event }: { event: RunEvent }) {
  const traceback = typeof event.facts.traceback === "string" ? event.facts.traceback : null;
  return (
    <>
      <time className="faint num" dateTime={event.time} title={moment(event.time)}>
        {clock(event.time)}
      </time>
      <i className={`dot tone-${eventTone(event.kind)}`} aria-hidden="true" />
      <span className="event-kind" title={facts(event)}>
        {event.kind}
      </span>
      <span className="event-text">
        {event.message}
        {traceback && <pre className="traceback">{traceback}</pre>}
      </span>
    </>
  );
}

function facts(event: RunEvent): string {
  const pairs = Object.entries(event.facts).filter(([name]) => name !== "traceback");
  return [`attempt ${event.attempt}`, ...pairs.map(([name, value]) => `${name}: ${JSON.stringify(value)}`)].join("\n");
}

function matching(events: readonly RunEvent[], text: string): RunEvent[] {
  const wanted = text.trim().toLowerCase();
  return events.filter((event) => !wanted || `${event.kind} ${event.message}`.toLowerCase().includes(wanted)).reverse();
}
