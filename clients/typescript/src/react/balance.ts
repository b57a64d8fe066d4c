import { useCallback, useMemo, useSyncExternalStore } from "react";
import type { Account } from "../protocol.ts";
import type { Balance, BalanceOf, BalanceState } from "../types.ts";
import { lingerTime } from "./linger.ts";
import { useRealtimeClient } from "./provider.ts";

export interface UseBalanceOptions<B extends Balance = Balance> {
  /**
   * A balance that the server knew when it rendered the page. It is shown as stale until the
   * gateway has answered, also on the server.
   */
  initial?: B | undefined;
}

const loading: BalanceState<never> = { status: "loading" };

/**
 * Returns the balance of an account, and renders again when it changes. All components share one
 * subscription for each account.
 *
 * ```tsx
 * const { balance, status } = useBalance("user:u1");
 * return <b>{balance ? balance.available : "…"}</b>;
 * ```
 */
export function useBalance<A extends Account>(
  account: A,
  options?: UseBalanceOptions<BalanceOf<A>>,
): BalanceState<BalanceOf<A>> {
  const client = useRealtimeClient();
  const store = useMemo(() => client.balance(account), [client, account]);

  const initial = options?.initial;
  const initialState = useMemo((): BalanceState<BalanceOf<A>> => {
    if (!initial) return loading;
    return { status: "stale", balance: initial, since: Date.parse(initial.updatedAt) };
  }, [initial?.account, initial?.seq, initial?.chain]);

  const subscribe = useCallback(
    (notify: () => void) => {
      let isMounted = true;
      const stop = store.subscribe(() => {
        if (isMounted) notify();
      });
      return () => {
        isMounted = false;
        setTimeout(stop, lingerTime);
      };
    },
    [store],
  );
  return useSyncExternalStore(
    subscribe,
    () => {
      const state = store.get();
      return state.status === "loading" ? initialState : state;
    },
    () => initialState,
  );
}
