/** Keeps lists of runs and the cluster up to date by the stream over all runs. */
import { type InfiniteData, type QueryClient, useQueryClient } from "@tanstack/react-query";
import { useCallback, useRef } from "react";
import { API } from "../api/client";
import type { RunListed, RunPage } from "../api/types";
import { type Message, withoutRun, withRun } from "./news";
import { useFeed } from "./useFeed";

const KINDS = ["run", "gone", "cluster", "reset"] as const;
const AGAIN_MS = 800;
type Pages = InfiniteData<RunPage>;

export function useRunsFeed(): void {
  const client = useQueryClient();
  const again = useRef<ReturnType<typeof setTimeout> | undefined>(undefined);
  const onMessages = useCallback(
    (messages: Message[]) => {
      let unknown = false;
      for (const { kind, data } of messages) {
        if (kind === "run") unknown = !takeRun(client, data as RunListed) || unknown;
        else if (kind === "gone") takeGone(client, (data as { id: string }).id);
        else if (kind === "cluster") void client.invalidateQueries({ queryKey: ["cluster"] });
        else if (kind === "reset") unknown = true;
      }
      if (unknown) {
        clearTimeout(again.current);
        again.current = setTimeout(() => void client.invalidateQueries({ queryKey: ["runs"] }), AGAIN_MS);
      }
    },
    [client],
  );
  useFeed({ url: `${API}/stream`, kinds: KINDS, onMessages });
}

/** Whether every list on the page has it; one that does not must be asked for again. */
function takeRun(client: QueryClient, run: RunListed): boolean {
  let everywhere = true;
  client.setQueriesData<Pages>({ queryKey: ["runs"] }, (old) => {
    if (!old) return old;
    const pages = withRun(old.pages, run);
    if (!pages) everywhere = false;
    return pages ? { ...old, pages } : old;
  });
  return everywhere;
}

function takeGone(client: QueryClient, id: string): void {
  client.setQueriesData<Pages>({ queryKey: ["runs"] }, (old) => old && { ...old, pages: withoutRun(old.pages, id) });
}
