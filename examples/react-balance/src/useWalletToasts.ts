import { useEvents } from "@redroomrewards/realtime/react";
import type { EventFilter, WalletEvent } from "@redroomrewards/realtime";
import { formatPoints } from "./format";
import type { Item } from "./shop";
import type { Toast } from "./useToasts";

/** Adds a toast for each event that the user wants to know about, in whatever window it was caused. */
export function useWalletToasts(menu: Item[], addToast: (toast: Omit<Toast, "id">) => void) {
  const nameOf = (queueItemId: string) =>
    menu.find((item) => `shop-${item.id}` === queueItemId)?.title ?? "an order";

  const escrows: EventFilter["types"] = [
    "wallet.escrow_held",
    "wallet.escrow_settled",
    "wallet.escrow_partial_settled",
    "wallet.escrow_refunded",
  ];
  useEvents({ types: escrows }, (event) => addToast(describe(event, nameOf)));
  useEvents({ reasons: ["promotional_award"] }, (event) => addToast(describe(event, nameOf)));
}

/** event is typed by its eventType: each case has the members of that event only. */
function describe(event: WalletEvent, nameOf: (queueItemId: string) => string): Omit<Toast, "id"> {
  switch (event.eventType) {
    case "wallet.escrow_held":
      return {
        kind: "held",
        title: `${formatPoints(event.amount)} points held`,
        text: `For ${nameOf(event.queueItemId)}`,
      };
    case "wallet.escrow_settled":
      return {
        kind: "spent",
        title: `${formatPoints(event.amount)} points spent`,
        text: `${nameOf(event.queueItemId)} is done`,
      };
    case "wallet.escrow_partial_settled":
      return {
        kind: "returned",
        title: `${formatPoints(event.refundAmount)} points are back`,
        text: `${formatPoints(event.settleAmount)} points spent on ${nameOf(event.queueItemId)}`,
      };
    case "wallet.escrow_refunded":
      return {
        kind: "returned",
        title: `${formatPoints(event.amount)} points are back`,
        text: `${nameOf(event.queueItemId)} was cancelled`,
      };
    case "wallet.balance_updated":
      return { kind: "added", title: `${formatPoints(event.changeAmount)} points added` };
  }
}
