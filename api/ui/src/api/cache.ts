/** What was asked of the service, and for how long it is good. */
import { QueryClient } from "@tanstack/react-query";
import { isPassing } from "./client";

const TRIES = 3;

export const client = new QueryClient({
  defaultOptions: {
    queries: {
      staleTime: 10_000,
      refetchOnWindowFocus: false,
      // What the service refused it will refuse again; when nobody answered, somebody may soon.
      retry: (failures, error) => isPassing(error) && failures < TRIES,
    },
  },
});
