export { createClient } from "./client.ts";
export { RealtimeError, Unauthorized } from "./errors.ts";
export type * from "./types.ts";
export type {
  Account,
  BalanceUpdated,
  EscrowHeld,
  EscrowPartialSettled,
  EscrowRefunded,
  EscrowSettled,
  WalletEvent,
} from "./protocol.ts";
export type { WebSocketConstructor, WebSocketLike } from "./transport.ts";
