import { type KeyboardEvent, useRef } from "react";
import type { FieldProblem } from "../../api/types";

interface EditorProps {
  text: string;
  onChange: (text: string) => void;
  problems: FieldProblem[];
  /** Ctrl-Enter. */
  onSubmit: () => void;
}

/** A text area with the numbers of its lines; lines with something wrong are marked. */
export function Editor({ text, onChange, problems, onSubmit }: EditorProps) {
  const numbers = useRef<HTMLDivElement>(null);
  const wrong = new Set(problems.map((problem) => problem.line));
  const count = text.split("\n").length;
  const onKey = (event: KeyboardEvent<HTMLTextAreaElement>) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) {
      event.preventDefault();
      onSubmit();
    }
  };
  return (
    <div className="editor">
      <div className="editor-numbers" aria-hidden="true" ref={numbers}>
        {Array.from({ length: count }, (_, index) => (
          <div key={index} className={wrong.has(index + 1) ? "wrong" : ""}>
            {index + 1}
          </div>
        ))}
      </div>
      <textarea
        className="editor-text"
        aria-label="Spec of the run, as YAML"
        aria-invalid={problems.length > 0}
        aria-describedby="spec-problems"
        spellCheck={false}
        autoCapitalize="off"
        autoComplete="off"
        wrap="off"
        value={text}
        onChange={(event) => onChange(event.target.value)}
        onKeyDown={onKey}
        onScroll={(event) => {
          if (numbers.current) numbers.current.scrollTop = event.currentTarget.scrollTop;
        }}
      />
    </div>
  );
}
