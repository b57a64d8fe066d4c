import type { EscrowPartialSettled, EventFrame, Snapshot, WalletEvent } from "./protocol.ts";
import type { Balance } from "./types.ts";

/** Returns the balance of a snapshot. */
export function fromSnapshot(snapshot: Snapshot): Balance {
  const { account, seq, chain, lastUpdated: updatedAt } = snapshot;
  return snapshot.accountType === "user"
    ? { account, seq, chain, available: snapshot.availableBalance, escrow: snapshot.escrowBalance, updatedAt }
    : { account, seq, chain, earned: snapshot.earnedBalance, updatedAt };
}

/** Returns the balance after an event. The balances in the event itself count. */
export function applyEvent(balance: Balance, { seq, chain, event }: EventFrame): Balance {
  return { ...balance, ...newPoints(balance, event), seq, chain, updatedAt: event.timestamp } as Balance;
}

function newPoints(balance: Balance, event: WalletEvent): Partial<Balance> {
  if (event.eventType === "wallet.balance_updated") return { [event.balanceState]: event.balanceAfter };
  const { userAvailableBalance, userEscrowBalance, modelEarnedBalance } = event as Partial<EscrowPartialSettled>;
  if (balance.earned === undefined) {
    return userAvailableBalance === undefined ? {} : { available: userAvailableBalance, escrow: userEscrowBalance! };
  }
  return modelEarnedBalance === undefined ? {} : { earned: modelEarnedBalance };
}
