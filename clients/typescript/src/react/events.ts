import { useEffect, useInsertionEffect, useRef } from "react";
import type { RealtimeError } from "../errors.ts";
import type { Client, EventFilter, EventHandlers } from "../types.ts";
import { lingerTime } from "./linger.ts";
import { useRealtimeClient } from "./provider.ts";

/** What a component does with events: a function for the events alone, or all handlers. */
export type EventHandler = EventHandlers["event"] | EventHandlers;

/**
 * Calls the handler for each event that passes the filter, once and in order, while the component
 * is mounted. It always calls the newest handler. Filters are compared by value, and components
 * with equal filters share one subscription.
 *
 * ```tsx
 * useEvents({ types: ["wallet.escrow_held"] }, (event) => addToast(event));
 * ```
 */
export function useEvents(filter: EventFilter, handler: EventHandler): void {
  const client = useRealtimeClient();
  const newest = useRef(handler);
  useInsertionEffect(() => {
    newest.current = handler;
  });

  const key = JSON.stringify(Object.entries(filter).sort());
  useEffect(() => joinSubscription(client, key, newest), [client, key]);
}

/** The handlers of a component. */
type Member = { current: EventHandler };

/** A subscription that the components with an equal filter share. */
interface Shared {
  members: Set<Member>;
  /** The refusal of the subscription, which members that come later get as well. */
  error?: RealtimeError | undefined;
  stop: () => void;
  stopTimer?: ReturnType<typeof setTimeout>;
}

const subscriptions = new WeakMap<Client, Map<string, Shared>>();

/** Adds a member to the subscription with this filter, and opens it for the first member. */
function joinSubscription(client: Client, key: string, member: Member): () => void {
  let ofClient = subscriptions.get(client);
  if (!ofClient) subscriptions.set(client, (ofClient = new Map()));
  let shared = ofClient.get(key);
  if (!shared) ofClient.set(key, (shared = openShared(client, key)));

  const joined = shared;
  const all = ofClient;
  clearTimeout(joined.stopTimer);
  joined.members.add(member);
  if (joined.error) handlersOf(member).error?.(joined.error);

  return () => {
    joined.members.delete(member);
    if (joined.members.size > 0) return;
    joined.stopTimer = setTimeout(() => {
      all.delete(key);
      joined.stop();
    }, lingerTime);
  };
}

function openShared(client: Client, key: string): Shared {
  const shared: Shared = { members: new Set(), stop: () => {} };
  const tell = (call: (handlers: EventHandlers) => void) => {
    const failures: unknown[] = [];
    for (const member of [...shared.members]) {
      try {
        call(handlersOf(member));
      } catch (failure) {
        failures.push(failure);
      }
    }
    // The client reports what its handlers throw.
    if (failures.length > 1) throw new AggregateError(failures, "handlers of useEvents failed");
    if (failures.length > 0) throw failures[0];
  };
  shared.stop = client.subscribe(Object.fromEntries(JSON.parse(key)), {
    event(event, position) {
      shared.error = undefined;
      tell((handlers) => handlers.event(event, position));
    },
    resync(state) {
      shared.error = undefined;
      tell((handlers) => handlers.resync?.(state));
    },
    error(error) {
      shared.error = error;
      tell((handlers) => handlers.error?.(error));
    },
  });
  return shared;
}

function handlersOf({ current }: Member): EventHandlers {
  return typeof current === "function" ? { event: current } : current;
}
