import { useVirtualizer } from "@tanstack/react-virtual";
import { useMemo, useRef } from "react";
import type { Incident, RunDetail, Timeline, WorkerLife } from "../../api/types";
import { clock, duration, moment } from "../../lib/format";
import { useMedia } from "../../lib/media";
import { useNow } from "../../lib/now";
import { isActive, isPresent, workerTone } from "../../lib/status";
import { ordered, share, spanOf, stagesOf, ticks, type TimeSpan } from "../../lib/timeline";
import { type AskedOf, WorkerButtons } from "./WorkersPanel";

const ROW = 28;
const MOST_SHOWN = 14;
const TICKS = 6;
const FEW_TICKS = 3;
/** Where the middle of a label would stand over an edge. */
const AT_EDGE = 0.1;

interface GanttProps {
  timeline: Timeline;
  run: RunDetail;
  onSteer?: (asked: AskedOf) => void;
}

export function Gantt({ timeline, run, onSteer }: GanttProps) {
  const second = useNow();
  const live = isActive(run.status);
  const span = useMemo(() => spanOf(timeline, live ? second : null), [timeline, live, live ? second : 0]);
  const lives = useMemo(() => ordered(timeline.workers, MOST_SHOWN), [timeline]);
  const place = useRef<HTMLDivElement>(null);
  const rows = useVirtualizer({
    count: lives.length,
    getScrollElement: () => place.current,
    estimateSize: () => ROW,
    overscan: 6,
  });
  const height = Math.min(lives.length, MOST_SHOWN) * ROW;
  return (
    <div className="gantt">
      <Axis span={span} />
      <div className="gantt-rows scroll-y" ref={place} style={{ height }} tabIndex={0} role="group" aria-label="Workers over time">
        <ul style={{ height: rows.getTotalSize() }} className="gantt-list">
          <li className="gantt-marks" aria-hidden="true">
            <Marks timeline={timeline} span={span} />
          </li>
          {rows.getVirtualItems().map((row) => {
            const life = lives[row.index]!;
            return (
              <li key={row.key} className="gantt-row" style={{ transform: `translateY(${row.start}px)` }}>
                <Life life={life} span={span} several={run.attempt > 1} onSteer={onSteer} />
              </li>
            );
          })}
        </ul>
      </div>
      <Key />
      {timeline.incidents.length > 0 && <Incidents incidents={timeline.incidents} />}
    </div>
  );
}

function Axis({ span }: { span: TimeSpan }) {
  const narrow = useMedia("(max-width: 860px)");
  const edge = (at: number) => (at < AT_EDGE ? "at-start" : at > 1 - AT_EDGE ? "at-end" : undefined);
  return (
    <div className="gantt-axis" aria-hidden="true">
      {ticks(span, narrow ? FEW_TICKS : TICKS).map((at) => (
        <span key={at} className={edge(share(at, span))} style={{ left: `${share(at, span) * 100}%` }}>
          {clock(at)}
        </span>
      ))}
    </div>
  );
}

function Marks({ timeline, span }: { timeline: Timeline; span: TimeSpan }) {
  return (
    <>
      {timeline.generations.map((one) => (
        <i
          key={`${one.attempt}.${one.number}`}
          className="gantt-generation"
          style={{ left: `${share(Date.parse(one.formed), span) * 100}%` }}
        />
      ))}
      {timeline.incidents.map((one) => (
        <i
          key={`${one.time}${one.kind}${one.worker}`}
          className="gantt-incident"
          style={{ left: `${share(Date.parse(one.time), span) * 100}%` }}
        />
      ))}
    </>
  );
}

interface LifeProps {
  life: WorkerLife;
  span: TimeSpan;
  several: boolean;
  onSteer?: (asked: AskedOf) => void;
}

function Life({ life, span, several, onSteer }: LifeProps) {
  const stages = stagesOf(life, span);
  const end = life.ended ? Date.parse(life.ended) : null;
  const tone = workerTone(life.state);
  return (
    <>
      <span className="gantt-name">
        <i className={`dot tone-${tone}`} aria-hidden="true" />
        <span className="clip">{several ? `${life.attempt}·${life.worker}` : life.worker}</span>
        <span className="faint small clip">{life.state}</span>
        {onSteer && isPresent(life.state) && <WorkerButtons worker={life.worker} onSteer={onSteer} />}
      </span>
      <span className="gantt-track" role="img" aria-label={toldOf(life)} title={toldOf(life)}>
        {stages.map(({ stage, from, to }) => (
          <i
            key={stage}
            className={`gantt-bar stage-${stage}`}
            style={{ left: `${share(from, span) * 100}%`, width: `${(share(to, span) - share(from, span)) * 100}%` }}
          />
        ))}
        {end !== null && <i className={`gantt-end tone-${tone}`} style={{ left: `${share(end, span) * 100}%` }} />}
      </span>
    </>
  );
}

export function toldOf(life: WorkerLife): string {
  const lived = life.started && life.ended ? ` after ${duration((Date.parse(life.ended) - Date.parse(life.started)) / 1000)}` : "";
  const parts = [
    `Worker ${life.worker}, attempt ${life.attempt}: ${life.state}${lived}`,
    life.started && `started ${moment(life.started)}`,
    life.joined && `trained from ${moment(life.joined)}`,
    life.ended && `ended ${moment(life.ended)}`,
    life.why && `why: ${life.why}`,
    life.node_id && `node ${life.node_id.slice(0, 12)}`,
    life.pid && `process ${life.pid}`,
  ];
  return parts.filter(Boolean).join("\n");
}

function Key() {
  return (
    <ul className="gantt-key small soft" aria-label="What the bars mean">
      <li>
        <i className="gantt-bar stage-starting" aria-hidden="true" /> starting
      </li>
      <li>
        <i className="gantt-bar stage-warm" aria-hidden="true" /> warm
      </li>
      <li>
        <i className="gantt-bar stage-training" aria-hidden="true" /> training
      </li>
      <li>
        <i className="gantt-key-line" aria-hidden="true" /> generation
      </li>
      <li>
        <i className="gantt-key-line is-bad" aria-hidden="true" /> incident
      </li>
    </ul>
  );
}

function Incidents({ incidents }: { incidents: Incident[] }) {
  return (
    <ol className="incidents scroll-y" aria-label="What went wrong" tabIndex={0}>
      {[...incidents].reverse().map((one) => (
        <li key={`${one.time}${one.kind}${one.worker}`}>
          <time className="faint num" dateTime={one.time}>
            {moment(one.time)}
          </time>
          <i className="dot tone-bad" aria-hidden="true" />
          <b>{one.kind}</b>
          <span className="soft">{one.message}</span>
        </li>
      ))}
    </ol>
  );
}
