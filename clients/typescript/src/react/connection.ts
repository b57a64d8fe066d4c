import { useCallback, useSyncExternalStore } from "react";
import type { ConnectionState } from "../types.ts";
import { useRealtimeClient } from "./provider.ts";

const idle: ConnectionState = { name: "idle" };

/** Returns the state of the connection. On the server it is idle. */
export function useConnectionState(): ConnectionState {
  const client = useRealtimeClient();
  const subscribe = useCallback((notify: () => void) => client.on("state", notify), [client]);
  return useSyncExternalStore(
    subscribe,
    () => client.state,
    () => idle,
  );
}
