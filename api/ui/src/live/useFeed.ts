/** Keeps a feed open while a page is shown, and hands over what came in batches. */
import { useQueryClient } from "@tanstack/react-query";
import { useEffect, useRef } from "react";
import { setConnection } from "./connection";
import { Feed } from "./feed";
import type { Message } from "./news";

const BATCH_MS = 100;
/** A browser opens six connections to a service: a page that nobody sees gives its own back. */
const HIDDEN_MS = 10_000;

/** What is asked for on top, in the parts of the address that `begin` says at each opening. */
export interface Extra {
  begin: () => Record<string, string>;
}

interface Wanted {
  /** Null: none. Another one opens another feed. */
  url: string | null;
  /** Another one opens the same feed again, from where it was. */
  extra?: Extra | null;
  kinds: readonly string[];
  last?: string;
  onMessages: (messages: Message[]) => void;
  /** Each time that it breaks or cannot be opened; why, a browser does not tell. */
  onLost?: () => void;
}

export function useFeed({ url, extra = null, kinds, last, onMessages, onLost }: Wanted): void {
  const client = useQueryClient();
  const take = useRef({ onMessages, onLost, extra });
  const opened = useRef<Opened>(null);
  useEffect(() => {
    take.current = { onMessages, onLost, extra };
  });
  const names = kinds.join();

  useEffect(() => {
    if (url === null) return;
    let batch: Message[] = [];
    let timer: ReturnType<typeof setTimeout> | undefined;
    let hiding: ReturnType<typeof setTimeout> | undefined;
    let away = false;
    const flush = () => {
      clearTimeout(timer);
      timer = undefined;
      if (!batch.length) return;
      const messages = batch;
      batch = [];
      take.current.onMessages(messages);
    };
    const feed: Feed = new Feed({
      url: (lastId) => {
        const { extra } = take.current;
        opened.current = { feed, flush, extra };
        return withParts(url, { ...(lastId ? { since: lastId } : {}), ...extra?.begin() });
      },
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
          flush();
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
      opened.current = null;
      setConnection("off");
    };
  }, [url, names, last, client]);

  useEffect(() => {
    if (!opened.current || opened.current.extra === extra) return;
    // What came by the old one is not an answer to the new one.
    opened.current.flush();
    opened.current.feed.reopen();
  }, [extra]);
}

interface Opened {
  feed: Feed;
  flush: () => void;
  /** With which it was. */
  extra: Extra | null;
}

function withParts(url: string, more: Record<string, string>): string {
  const [path, search] = url.split("?");
  const parts = new URLSearchParams(search);
  for (const [name, value] of Object.entries(more)) if (value) parts.set(name, value);
  return parts.size ? `${path}?${parts}` : path!;
}
