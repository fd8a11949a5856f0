import { useQueryClient } from "@tanstack/react-query";
import { useState } from "react";
import type { NodeShown } from "../../api/types";
import { cordon, drainNode, uncordon } from "../../api/verbs";
import { Copy } from "../../ui/Copy";
import { Dialog } from "../../ui/Dialog";
import { toast } from "../../ui/toasts";

export type NodeVerb = "cordon" | "uncordon" | "drain";

const TOLD: Record<NodeVerb, string> = {
  cordon: "No new worker starts there. Those that are there stay.",
  uncordon: "Workers may start there again.",
  drain: "All workers move away: replacements first, then each leaves at a step boundary. No step is repeated.",
};
const DONE: Record<NodeVerb, string> = { cordon: "is cordoned", uncordon: "is open again", drain: "is draining" };

export function NodeDialog({ node, verb, onClose }: { node: NodeShown; verb: NodeVerb; onClose: () => void }) {
  const client = useQueryClient();
  const [deadline, setDeadline] = useState("");
  const command = `tumbler nodes ${verb} ${node.hostname}${verb === "drain" && deadline ? ` --deadline-s ${deadline}` : ""}`;
  const act = async () => {
    if (verb === "drain") await drainNode(node.id, deadline ? Number(deadline) : null, "");
    else await (verb === "cordon" ? cordon : uncordon)(node.id);
    toast(`${node.hostname} ${DONE[verb]}`);
    await client.invalidateQueries({ queryKey: ["cluster"] });
  };
  const word = verb.charAt(0).toUpperCase() + verb.slice(1);
  return (
    <Dialog title={`${word} ${node.hostname}?`} verb={word} danger={verb === "drain"} onConfirm={act} onClose={onClose}>
      <p className="soft">{TOLD[verb]}</p>
      {verb === "drain" && (
        <label className="field">
          Seconds until it is gone, where that is known
          <input className="input num" type="number" min={0} value={deadline} onChange={(event) => setDeadline(event.target.value)} />
        </label>
      )}
      <div className="command">
        <code className="clip grow">{command}</code>
        <Copy text={command} label="Copy the command" />
      </div>
    </Dialog>
  );
}
