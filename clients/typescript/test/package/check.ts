// Compiled against the installed package, in strict mode. Each line after @ts-expect-error must
// not compile.

import { createClient, RealtimeError, Unauthorized } from "@redroomrewards/realtime";
import type { Account, BalanceState, ConnectionState, UserBalance, WalletEvent } from "@redroomrewards/realtime";
import { RealtimeProvider, useBalance, useConnectionState, useEvents } from "@redroomrewards/realtime/react";

export const client = createClient({
  url: "wss://gateway.example.com/v1/ws",
  getToken: async ({ reason, signal }) => {
    if (reason === "rejected") throw new Unauthorized();
    return (await fetch("/token", { signal })).text();
  },
});

/** The type of an event decides its members. */
export function describe(event: WalletEvent): string {
  switch (event.eventType) {
    case "wallet.escrow_held":
      return `${event.amount} of ${event.userAvailableBalance} for ${event.featureType}`;
    case "wallet.escrow_partial_settled":
      // @ts-expect-error: this event has refundAmount and settleAmount
      return `${event.amount}`;
    case "wallet.balance_updated":
      // @ts-expect-error: a typo
      return `${event.balanceAfer}`;
    case "wallet.escrow_settled":
    case "wallet.escrow_refunded":
      return event.escrowId;
    // @ts-expect-error: there is no such type
    case "wallet.escrow_helt":
      return "";
  }
}

/** The status of a balance decides its members, and the account decides its balances. */
export function show(state: BalanceState<UserBalance>): number | string {
  if (state.status === "loading") return "…";
  if (state.status === "error") return state.error.code;
  if (state.status === "stale") return state.since;
  // @ts-expect-error: a user has no earned points
  const earned: number = state.balance.earned;
  return state.balance.available + state.balance.escrow + earned;
}

export const earned: number | undefined = (() => {
  const state = client.balance("model:m1").get();
  return state.balance?.earned;
})();

export const stop: () => void = client.subscribe(
  { accounts: ["user:u1"], types: ["wallet.escrow_settled"], minAmount: 10 },
  {
    event: (event, { account, seq, chain }) => console.log(describe(event), account, seq, chain),
    resync: ({ reason, balance }) => console.log(reason, balance.seq),
    error: (error) => console.log(error instanceof RealtimeError, error.code),
  },
);

client.on("state", (state: ConnectionState) => {
  if (state.name === "waiting") console.log(state.retryAt);
  // @ts-expect-error: only waiting has retryAt
  if (state.name === "live") console.log(state.retryAt);
});

// @ts-expect-error: an account begins with user: or model:
client.balance("u1");
// @ts-expect-error: a typo in a filter
client.subscribe({ type: ["wallet.escrow_held"] }, { event() {} });
// @ts-expect-error: a typo in a type of events
client.subscribe({ types: ["wallet.escrow_helt"] }, { event() {} });
// @ts-expect-error: getToken is required
createClient({ url: "wss://gateway.example.com/v1/ws" });

export function Balance({ account }: { account: Account }) {
  const { balance, status } = useBalance("user:u1", { initial: undefined });
  const available: number | undefined = balance?.available;
  const any = useBalance(account).balance;
  useEvents({ types: ["wallet.escrow_held"] }, (event) => console.log(describe(event)));
  useEvents({}, { event() {}, error: (error) => console.log(error.message) });
  // @ts-expect-error: a typo in a filter
  useEvents({ reason: ["bonus"] }, () => {});
  return `${status} ${available} ${any?.seq} ${useConnectionState().name}`;
}

export const element = RealtimeProvider({ client, children: "text" });
