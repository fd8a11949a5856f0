/** Keeps a feed open while a page is shown, and hands over what came in batches. */
import { useQueryClient } from "@tanstack/react-query";
import { useEffect, useRef } from "react";
import { setConnection } from "./connection";
import { Feed } from "./feed";
import type { Message } from "./news";

const BATCH_MS = 100;
/** A browser opens six connections to a service: a page that nobody sees gives its own back. */
const HIDDEN_MS = 10_000;

interface Wanted {
  /** Null: none. Another one opens another feed. */
  url: string | null;
  kinds: readonly string[];
  last?: string;
  onMessages: (messages: Message[]) => void;
  /** Each time that it breaks or cannot be opened; why, a browser does not tell. */
  onLost?: () => void;
}

export function useFeed({ url, kinds, last, onMessages, onLost }: Wanted): void {
  const client = useQueryClient();
  const take = useRef({ onMessages, onLost });
  useEffect(() => {
    take.current = { onMessages, onLost };
  });
  const names = kinds.join();

  useEffect(() => {
    if (url === null) return;
    let batch: Message[] = [];
    let timer: ReturnType<typeof setTimeout> | undefined;
    let hiding: ReturnType<typeof setTimeout> | undefined;
    let away = false;
    const flush = () => {
      timer = undefined;
      const messages = batch;
      batch = [];
      take.current.onMessages(messages);
    };
    const feed = new Feed({
      url: (lastId) => (lastId ? withSince(url, lastId) : url),
      kinds: names.split(","),
      last,
      onMessage: (kind, data) => {
        batch.push({ kind, data });
        timer ??= setTimeout(flush, BATCH_MS);
      },
      onState: (state) => {
        setConnection(state);
        if (state === "lost") {
          away = true;
          take.current.onLost?.();
        }
        if (state === "open" && away) {
          away = false;
          void client.invalidateQueries();
        }
      },
    });
    const onVisibility = () => {
      clearTimeout(hiding);
      if (document.hidden) {
        hiding = setTimeout(() => {
          away = true;
          feed.stop();
        }, HIDDEN_MS);
      } else {
        feed.start();
      }
    };
    feed.start();
    document.addEventListener("visibilitychange", onVisibility);
    return () => {
      document.removeEventListener("visibilitychange", onVisibility);
      clearTimeout(hiding);
      clearTimeout(timer);
      feed.stop();
      setConnection("off");
    };
  }, [url, names, last, client]);
}

function withSince(url: string, lastId: string): string {
  const [path, search] = url.split("?");
  const parts = new URLSearchParams(search);
  parts.set("since", lastId);
  return `${path}?${parts}`;
}
