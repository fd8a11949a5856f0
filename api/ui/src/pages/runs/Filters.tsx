import { useQuery } from "@tanstack/react-query";
import { useEffect, useState } from "react";
import { GROUPS, queuesQuery, type RunsSearch } from "../../api/queries";

const SORTS: readonly [string, string][] = [
  ["-created", "Newest"],
  ["created", "Oldest"],
  ["-updated", "Changed last"],
  ["name", "Name"],
  ["-priority", "Priority"],
];

interface FiltersProps {
  search: RunsSearch;
  change: (next: RunsSearch) => void;
  goodput: boolean;
  setGoodput: (on: boolean) => void;
}

export function Filters({ search, change, goodput, setGoodput }: FiltersProps) {
  const queues = useQuery(queuesQuery);
  return (
    <search className="filters">
      <div className="segments" role="group" aria-label="Status">
        {["", ...Object.keys(GROUPS)].map((group) => (
          <button
            key={group}
            type="button"
            aria-pressed={(search.status ?? "") === group}
            onClick={() => change({ status: group })}
          >
            {group ? group.charAt(0).toUpperCase() + group.slice(1) : "All"}
          </button>
        ))}
      </div>
      <Typed label="Name or id" placeholder="Search name or id  /" value={search.q ?? ""} onChange={(q) => change({ q })} search />
      <Typed label="Labels" placeholder="label=value" value={search.label ?? ""} onChange={(label) => change({ label })} />
      <select className="select" aria-label="Queue" value={search.queue ?? ""} onChange={(event) => change({ queue: event.target.value })}>
        <option value="">Any queue</option>
        {queues.data?.map((queue) => <option key={queue.name}>{queue.name}</option>)}
        {search.queue && !queues.data?.some((queue) => queue.name === search.queue) && <option>{search.queue}</option>}
      </select>
      <select className="select" aria-label="Order" value={search.sort ?? "-created"} onChange={(event) => change({ sort: event.target.value })}>
        {SORTS.map(([value, word]) => (
          <option key={value} value={value}>
            {word}
          </option>
        ))}
        {search.sort && !SORTS.some(([value]) => value === search.sort) && <option value={search.sort}>{search.sort}</option>}
      </select>
      <button type="button" className="button" aria-pressed={goodput} onClick={() => setGoodput(!goodput)}>
        {goodput ? "Hide goodput" : "Show goodput"}
      </button>
    </search>
  );
}

interface TypedProps {
  label: string;
  placeholder: string;
  value: string;
  onChange: (text: string) => void;
  search?: boolean;
}

/** Asks when nobody typed for a moment. */
function Typed({ label, placeholder, value, onChange, search = false }: TypedProps) {
  const [text, setText] = useState(value);
  useEffect(() => setText(value), [value]);
  useEffect(() => {
    if (text === value) return;
    const timer = setTimeout(() => onChange(text.trim()), 250);
    return () => clearTimeout(timer);
  }, [text, value]);
  return (
    <input
      className="input"
      type="search"
      aria-label={label}
      placeholder={placeholder}
      value={text}
      data-search={search ? "" : undefined}
      onChange={(event) => setText(event.target.value)}
      onKeyDown={(event) => event.key === "Escape" && event.currentTarget.blur()}
    />
  );
}
