/** A table in a frame of its own, which is scrolled where there is no room for all of it. */
import type { ReactNode } from "react";

interface Head {
  word: string;
  kind: "right" | "hidden";
}

interface TableProps {
  /** What it is of. */
  label: string;
  heads: readonly (string | Head)[];
  /** The frame's, instead of one that is scrolled sideways. */
  frame?: string;
  className?: string;
  /** The rows. */
  children: ReactNode;
}

export function Table({ label, heads, frame = "scroll-x", className = "", children }: TableProps) {
  return (
    <div className={frame} tabIndex={0} role="region" aria-label={`${label}, a table`}>
      <table className={`data ${className}`}>
        <thead>
          <tr>
            {heads.map((head, index) => {
              const { word, kind } = typeof head === "string" ? { word: head, kind: undefined } : head;
              return (
                <th key={index} scope="col" className={kind === "right" ? "right" : undefined}>
                  {kind === "hidden" ? <span className="hidden">{word}</span> : word}
                </th>
              );
            })}
          </tr>
        </thead>
        <tbody>{children}</tbody>
      </table>
    </div>
  );
}

/** Over numbers. */
export function right(word: string): Head {
  return { word, kind: "right" };
}

/** For those who hear the table: over buttons. */
export function hidden(word: string): Head {
  return { word, kind: "hidden" };
}
