import { createContext, createElement, useContext } from "react";
import type { ReactElement, ReactNode } from "react";
import type { Client } from "../types.ts";

const ClientContext = createContext<Client | null>(null);

export interface RealtimeProviderProps {
  /** The client that the hooks below use. The provider does not close it. */
  client: Client;
  children?: ReactNode;
}

/**
 * Gives a client to the hooks in its children. Create the client once, outside of components:
 *
 * ```tsx
 * const client = createClient({ url, getToken });
 * root.render(<RealtimeProvider client={client}><App /></RealtimeProvider>);
 * ```
 */
export function RealtimeProvider({ client, children }: RealtimeProviderProps): ReactElement {
  return createElement(ClientContext.Provider, { value: client }, children);
}

/** Returns the provider's client, for example to call `setUser`. */
export function useRealtimeClient(): Client {
  const client = useContext(ClientContext);
  if (!client) {
    throw new Error("this hook must be used inside of <RealtimeProvider client={…}>");
  }
  return client;
}
