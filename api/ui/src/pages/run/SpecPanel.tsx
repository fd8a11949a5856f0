import { useMemo } from "react";
import { runPath } from "../../api/client";
import type { RunDetail } from "../../api/types";
import { document } from "../../lib/yaml";
import { Copy } from "../../ui/Copy";
import { Panel } from "../../ui/Panel";

/** What was asked for, with every default filled in. */
export function SpecPanel({ run }: { run: RunDetail }) {
  const text = useMemo(() => document(run.spec), [run.spec]);
  return (
    <Panel
      id="spec"
      title="Spec"
      note="every default filled in"
      cli={`tumbler get ${run.name} -o yaml`}
      api={runPath(run.name)}
      tools={<Copy text={text} label="Copy the spec" word="YAML" />}
      flush
    >
      <pre className="spec scroll-y" tabIndex={0} role="region" aria-label="Spec as YAML">
        {text.split("\n").map((line, at) => (
          <SpecLine key={at} line={line} />
        ))}
      </pre>
    </Panel>
  );
}

function SpecLine({ line }: { line: string }) {
  const match = /^(\s*(?:- )?)([^:]+:)(.*)$/.exec(line);
  if (!match) return <>{`${line}\n`}</>;
  return (
    <>
      {match[1]}
      <span className="spec-key">{match[2]}</span>
      {`${match[3]}\n`}
    </>
  );
}
