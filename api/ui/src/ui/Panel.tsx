/** A part of a page: a heading, what it shows, and how to get the same from a terminal or over REST. */
import type { ReactNode } from "react";
import { API } from "../api/client";
import { Copy } from "./Copy";

interface PanelProps {
  id?: string;
  title: string;
  /** The command that tells the same. */
  cli?: string;
  /** Where REST tells the same, below /api/v1. */
  api?: string;
  note?: ReactNode;
  tools?: ReactNode;
  flush?: boolean;
  className?: string;
  children: ReactNode;
}

export function Panel({ id, title, cli, api, note, tools, flush, className = "", children }: PanelProps) {
  return (
    <section className={`panel ${className}`} id={id} aria-label={title}>
      <header className="panel-head">
        <div className="panel-name">
          <h2>{title}</h2>
          {note !== undefined && <span className="faint small">{note}</span>}
        </div>
        <div className="panel-tools">
          {tools}
          {cli && <Copy text={cli} label={`Copy the command: ${cli}`} word="CLI" />}
          {api && (
            <a className="quiet" href={API + api} target="_blank" rel="noreferrer" aria-label={`API: ${title} over REST`} title={`GET ${API}${api}`}>
              API
            </a>
          )}
        </div>
      </header>
      <div className={`panel-body${flush ? " flush" : ""}`}>{children}</div>
    </section>
  );
}

export function Empty({ children }: { children: ReactNode }) {
  return <p className="empty">{children}</p>;
}
