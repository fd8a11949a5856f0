import { useQueryClient } from "@tanstack/react-query";
import { useState } from "react";
import type { Queue } from "../../api/types";
import { setQueue } from "../../api/verbs";
import { Dialog } from "../../ui/Dialog";
import { toast } from "../../ui/toasts";

const KINDS: readonly [string, string][] = [
  ["workers", "Workers"],
  ["CPU", "CPU"],
  ["GPU", "GPU"],
  ["memory", "Memory, bytes"],
];

/** `queue` null: a new one. */
export function QueueDialog({ queue, onClose }: { queue: Queue | null; onClose: () => void }) {
  const client = useQueryClient();
  const [name, setName] = useState(queue?.name ?? "");
  const [weight, setWeight] = useState(String(queue?.weight ?? 1));
  const [quota, setQuota] = useState<Record<string, string>>(() =>
    Object.fromEntries(Object.entries(queue?.quota ?? {}).map(([kind, much]) => [kind, String(much)])),
  );
  const act = async () => {
    const limits = Object.entries(quota).filter(([, text]) => text.trim());
    await setQueue(name.trim(), Object.fromEntries(limits.map(([kind, text]) => [kind, Number(text)])), Number(weight));
    toast(`queue ${name.trim()} is set`);
    await client.invalidateQueries({ queryKey: ["cluster"] });
  };
  return (
    <Dialog title={queue ? `Queue ${queue.name}` : "New queue"} verb="Set" onConfirm={act} onClose={onClose}>
      <p className="soft">The most that its runs hold together; an empty field has no limit. No run loses its smallest group by it.</p>
      {!queue && (
        <label className="field">
          Name
          <input className="input" required value={name} onChange={(event) => setName(event.target.value)} />
        </label>
      )}
      <div className="quota-fields">
        {KINDS.map(([kind, word]) => (
          <label key={kind} className="field">
            {word}
            <input className="input num" type="number" min={0} step="any" value={quota[kind] ?? ""} placeholder="no limit" onChange={(event) => setQuota({ ...quota, [kind]: event.target.value })} />
          </label>
        ))}
        <label className="field">
          Weight
          <input className="input num" type="number" min={0} step="any" required value={weight} onChange={(event) => setWeight(event.target.value)} />
        </label>
      </div>
    </Dialog>
  );
}
