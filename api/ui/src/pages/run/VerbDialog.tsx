import { useQueryClient } from "@tanstack/react-query";
import { useNavigate } from "@tanstack/react-router";
import { useState } from "react";
import type { RunDetail } from "../../api/types";
import * as verbs from "../../api/verbs";
import { parseOverrides } from "../../lib/overrides";
import type { Verb } from "../../lib/status";
import { Copy } from "../../ui/Copy";
import { Dialog } from "../../ui/Dialog";
import { toast } from "../../ui/toasts";

interface Asked {
  title: string;
  button: string;
  told: string;
  danger?: boolean;
  done: string;
}

const ASKED: Record<Verb, (name: string) => Asked> = {
  scale: (name) => ({ title: `Scale ${name}`, button: "Scale", told: "It shrinks at once and grows when there is room. The result stays the same.", done: "scaled" }),
  checkpoint: (name) => ({ title: `Take a checkpoint of ${name}?`, button: "Take it", told: "One more, at the next step.", done: "was asked for a checkpoint" }),
  pause: (name) => ({ title: `Pause ${name}?`, button: "Pause", told: "It takes a last checkpoint and gives its workers back. Resume goes on from there.", done: "is told to pause" }),
  resume: (name) => ({ title: `Resume ${name}?`, button: "Resume", told: "It is queued again and goes on from its newest checkpoint.", done: "is queued again" }),
  cancel: (name) => ({ title: `Cancel ${name}?`, button: "Cancel the run", told: "It takes a last checkpoint and ends.", danger: true, done: "is told to end" }),
  clone: (name) => ({ title: `Clone ${name}`, button: "Clone", told: "A new run from the same spec, with other values where you name some.", done: "was cloned" }),
  retry: (name) => ({ title: `Retry ${name}?`, button: "Retry", told: "The same spec once more, as a new run.", done: "is tried again" }),
  delete: (name) => ({ title: `Delete ${name}?`, button: "Delete the run", told: "The service forgets it. This cannot be undone.", danger: true, done: "was deleted" }),
};

export function VerbDialog({ run, verb, onClose }: { run: RunDetail; verb: Verb; onClose: () => void }) {
  const client = useQueryClient();
  const navigate = useNavigate();
  const [min, setMin] = useState(run.workers.min);
  const [max, setMax] = useState(run.workers.max);
  const [name, setName] = useState("");
  const [overrides, setOverrides] = useState("");
  const [keep, setKeep] = useState(false);
  const asked = ASKED[verb](run.name);

  const act = async () => {
    if (verb === "delete") {
      await verbs.remove(run.id, keep);
      client.removeQueries({ queryKey: ["run", run.name] });
      toast(`${run.name} ${asked.done}`);
      return navigate({ to: "/" });
    }
    const answer = await send();
    toast(answer.id === run.id ? `${run.name} ${asked.done}` : `${run.name} ${asked.done}: ${answer.name}`);
    if (answer.id !== run.id) return navigate({ to: "/runs/$ref", params: { ref: answer.name } });
    client.setQueryData<RunDetail>(["run", run.name], (old) => (old ? { ...answer, wait: answer.wait ?? old.wait } : answer));
  };
  const send = (): Promise<RunDetail> => {
    switch (verb) {
      case "scale":
        return verbs.scale(run.id, min, Math.max(min, max));
      case "clone":
        return verbs.clone(run.id, name.trim(), parseOverrides(overrides));
      case "checkpoint":
        return verbs.takeCheckpoint(run.id);
      default:
        return verbs[verb as "pause" | "resume" | "cancel" | "retry"](run.id);
    }
  };

  const command = commandOf(run, verb, { min, max, name, overrides, keep });
  return (
    <Dialog title={asked.title} verb={asked.button} danger={asked.danger} onConfirm={act} onClose={onClose}>
      <p className="soft">{asked.told}</p>
      {verb === "scale" && (
        <div className="row">
          <Count label="At least" value={min} onChange={setMin} />
          <Count label="At most" value={max} onChange={setMax} />
        </div>
      )}
      {verb === "clone" && (
        <>
          <label className="field">
            Name
            <input className="input" value={name} onChange={(event) => setName(event.target.value)} placeholder="made up where it is left out" />
          </label>
          <label className="field">
            Other values, one a line
            <textarea className="area" rows={3} value={overrides} onChange={(event) => setOverrides(event.target.value)} placeholder="train.seed=2" spellCheck={false} />
          </label>
        </>
      )}
      {verb === "delete" && (
        <label className="row">
          <input type="checkbox" checked={keep} onChange={(event) => setKeep(event.target.checked)} />
          Leave the run directory where it is
        </label>
      )}
      <div className="command">
        <code className="clip grow">{command}</code>
        <Copy text={command} label="Copy the command" />
      </div>
    </Dialog>
  );
}

function Count({ label, value, onChange }: { label: string; value: number; onChange: (value: number) => void }) {
  return (
    <label className="field">
      {label}
      <input className="input num" type="number" min={1} required value={value} onChange={(event) => onChange(event.target.valueAsNumber || 1)} />
    </label>
  );
}

interface Given {
  min: number;
  max: number;
  name: string;
  overrides: string;
  keep: boolean;
}

/** The same from a terminal. */
function commandOf(run: RunDetail, verb: Verb, { min, max, name, overrides, keep }: Given): string {
  switch (verb) {
    case "scale":
      return `tumbler scale ${run.name} ${min === max ? max : `${min}:${max}`}`;
    case "checkpoint":
      return `tumbler checkpoint take ${run.name}`;
    case "delete":
      return `tumbler rm ${run.name}${keep ? " --keep-files" : ""}`;
    case "clone": {
      const set = overrides.split("\n").filter((line) => line.trim());
      return `tumbler clone ${run.name}${name ? ` --name ${name}` : ""}${set.map((line) => ` --set ${line.trim()}`).join("")}`;
    }
    default:
      return `tumbler ${verb} ${run.name}`;
  }
}
