// Generated from docs/asyncapi.json by scripts/generate-protocol.mjs. Do not edit.

/**
 * The full name of an account, in the fields account and accounts. A user has the balances available and escrow. A model has the balance earned.
 */
export type Account = `user:${string}` | `model:${string}`;
/**
 * The id of an account without user: or model:, as your own tables have it. userId is a user's and modelId a model's. accountType stands beside accountId.
 */
export type BareId = string;
/**
 * Identifies the account's history up to the event with this seq. Two histories that agree in seq and chain are the same history. All digits are 0 before the first event.
 */
export type Chain = string;
/**
 * All accounts, with live events only, each event once and in full. The token must have the scope events:all.
 */
export type EveryAccount = "*";
/**
 * The client's own name for a subscription, at most 64 bytes. Every frame of the subscription carries it.
 */
export type SubscriptionName = string;
/**
 * The number of an event among the events of its account: 1, 2, 3 … without a gap. 0 is before the first event.
 */
export type Seq = number;
/**
 * Whole points.
 */
export type Amount = number;
/**
 * A balance, in whole points.
 */
export type Points = number;
/**
 * The reason of the operation.
 */
export type Reason = string;
/**
 * An RFC 3339 time with milliseconds, in UTC.
 */
export type Timestamp = string;
export type Id = string;
export type Snapshot = UserSnapshot | ModelSnapshot;
/**
 * The event as the frame's account sees it, or in full for a subscription to "*".
 */
export type WalletEvent =
  EscrowHeld | EscrowSettled | EscrowRefunded | EscrowPartialSettled | BalanceUpdated;
export type ServerFrame =
  | WelcomeFrame
  | SubscribedFrame
  | EventFrame
  | ResyncFrame
  | UnsubscribedFrame
  | PongFrame
  | ErrorFrame
  | TokenExpiringFrame
  | ReconnectFrame
  | ClosedFrame;
export type ClientFrame = AuthFrame | SubscribeFrame | UnsubscribeFrame | PingFrame;

/**
 * A user's balances after the event with this seq. An unknown account has zeros and the time 1970-01-01T00:00:00.000Z.
 */
export interface UserSnapshot {
  account: Account;
  accountId: BareId;
  accountType: "user";
  availableBalance: Points;
  escrowBalance: Points;
  currency: "points";
  seq: Seq;
  chain: Chain;
  lastUpdated: Timestamp;
}
/**
 * A model's balance after the event with this seq.
 */
export interface ModelSnapshot {
  account: Account;
  accountId: BareId;
  accountType: "model";
  earnedBalance: Points;
  currency: "points";
  seq: Seq;
  chain: Chain;
  lastUpdated: Timestamp;
}
/**
 * Points of a user were held.
 */
export interface EscrowHeld {
  eventId: Id;
  eventType: "wallet.escrow_held";
  timestamp: Timestamp;
  transactionId: Id;
  reason: Reason;
  source: "wallet-core";
  version: "1.0";
  userId: BareId;
  escrowId: Id;
  amount: Amount;
  queueItemId: string;
  featureType: string;
  userAvailableBalance: Points;
  userEscrowBalance: Points;
  /**
   * The correlationId of the operation, or the traceparent of its request.
   */
  correlationId?: string;
  /**
   * The metadata of the operation, at most 8 KiB.
   */
  metadata?: {[key: string]: unknown};
}
/**
 * Held points moved to a model. The user does not see the model's balance.
 */
export interface EscrowSettled {
  eventId: Id;
  eventType: "wallet.escrow_settled";
  timestamp: Timestamp;
  transactionId: Id;
  reason: Reason;
  source: "wallet-core";
  version: "1.0";
  userId: BareId;
  modelId: BareId;
  escrowId: Id;
  amount: Amount;
  queueItemId: string;
  modelEarnedBalance?: Points;
  /**
   * The correlationId of the operation, or the traceparent of its request.
   */
  correlationId?: string;
  /**
   * The metadata of the operation, at most 8 KiB.
   */
  metadata?: {[key: string]: unknown};
}
/**
 * Held points moved back to their user.
 */
export interface EscrowRefunded {
  eventId: Id;
  eventType: "wallet.escrow_refunded";
  timestamp: Timestamp;
  transactionId: Id;
  reason: Reason;
  source: "wallet-core";
  version: "1.0";
  userId: BareId;
  escrowId: Id;
  amount: Amount;
  queueItemId: string;
  userAvailableBalance: Points;
  userEscrowBalance: Points;
  /**
   * The correlationId of the operation, or the traceparent of its request.
   */
  correlationId?: string;
  /**
   * The metadata of the operation, at most 8 KiB.
   */
  metadata?: {[key: string]: unknown};
}
/**
 * A part of held points moved to a model, and the rest moved back to the user. Neither party sees the other's balances.
 */
export interface EscrowPartialSettled {
  eventId: Id;
  eventType: "wallet.escrow_partial_settled";
  timestamp: Timestamp;
  transactionId: Id;
  reason: Reason;
  source: "wallet-core";
  version: "1.0";
  userId: BareId;
  modelId: BareId;
  escrowId: Id;
  refundAmount: Amount;
  settleAmount: Amount;
  queueItemId: string;
  userAvailableBalance?: Points;
  userEscrowBalance?: Points;
  modelEarnedBalance?: Points;
  /**
   * The correlationId of the operation, or the traceparent of its request.
   */
  correlationId?: string;
  /**
   * The metadata of the operation, at most 8 KiB.
   */
  metadata?: {[key: string]: unknown};
}
/**
 * One balance of one account changed.
 */
export interface BalanceUpdated {
  eventId: Id;
  eventType: "wallet.balance_updated";
  timestamp: Timestamp;
  transactionId: Id;
  reason: Reason;
  source: "wallet-core";
  version: "1.0";
  accountId: BareId;
  accountType: "user" | "model";
  balanceState: "available" | "escrow" | "earned";
  balanceBefore: Points;
  balanceAfter: Points;
  /**
   * balanceAfter minus balanceBefore.
   */
  changeAmount: number;
  ledgerEntryId: Id;
  /**
   * The correlationId of the operation, or the traceparent of its request.
   */
  correlationId?: string;
  /**
   * The metadata of the operation, at most 8 KiB.
   */
  metadata?: {[key: string]: unknown};
}
export interface AuthFrame {
  op: "auth";
  /**
   * A JWT. Its accounts and scope determine the accounts that the client may subscribe to.
   */
  token: string;
}
export interface SubscribeFrame {
  op: "subscribe";
  sub: SubscriptionName;
  /**
   * The default is the accounts of the token.
   */
  accounts?: Account[] | EveryAccount[];
  /**
   * Only events of these types.
   */
  types?: string[];
  /**
   * Only events with one of these reasons.
   */
  reasons?: string[];
  /**
   * Only events with one of these featureTypes. An event without a featureType does not pass.
   */
  features?: string[];
  /**
   * Only events of at least this many points. The points of balance_updated are the absolute changeAmount, those of escrow_partial_settled are the sum of refundAmount and settleAmount, and those of other events are amount.
   */
  minAmount?: number;
  /**
   * The newest seq that the client has for accounts of the subscription. The client gets the later events.
   */
  after?: {
    [k: string]: Seq;
  };
  /**
   * The chains at the seqs in after. With the chain of an account, the gateway notices that the ledger went back since, and sends a resync with history_changed. Only accounts of after are allowed.
   */
  chain?: {
    [k: string]: Chain;
  };
  /**
   * Whether the subscribed frame contains balances.
   */
  snapshot?: boolean;
}
export interface UnsubscribeFrame {
  op: "unsubscribe";
  sub: SubscriptionName;
}
export interface PingFrame {
  op: "ping";
}
export interface WelcomeFrame {
  op: "welcome";
  /**
   * This connection's id, for support and for the admin API.
   */
  connection: string;
  /**
   * The gateway's name.
   */
  gateway: string;
  /**
   * Time between the gateway's WebSocket pings. The gateway closes a connection that is silent for two such times.
   */
  heartbeatSeconds: number;
  expiresAt: Timestamp;
}
export interface SubscribedFrame {
  op: "subscribed";
  sub: SubscriptionName;
  accounts: SubscribedAccount[];
}
/**
 * The events that follow for the account are exactly those with a greater seq that pass the filter. The frame has a snapshot unless recovered is true or the client asked for none.
 */
export interface SubscribedAccount {
  account: Account | EveryAccount;
  seq: Seq;
  chain: Chain;
  /**
   * The gateway resumes from after: the missed events follow, and then live events.
   */
  recovered: boolean;
  snapshot?: Snapshot;
}
export interface EventFrame {
  op: "event";
  sub: SubscriptionName;
  account: Account;
  seq: Seq;
  chain: Chain;
  event: WalletEvent;
}
export interface ResyncFrame {
  op: "resync";
  sub: SubscriptionName;
  account: Account;
  seq: Seq;
  chain: Chain;
  snapshot: Snapshot;
  /**
   * history_unavailable: events are missing; seq is never below a seq that the client was shown. history_changed: the ledger went back, and events that the client was shown never happened; seq may be lower than before.
   */
  reason: "history_unavailable" | "history_changed";
}
export interface UnsubscribedFrame {
  op: "unsubscribed";
  sub: SubscriptionName;
}
export interface PongFrame {
  op: "pong";
}
export interface ErrorFrame {
  op: "error";
  /**
   * The subscription that the refused frame named.
   */
  sub?: string;
  code:
    | "bad_request"
    | "forbidden"
    | "too_many_subscriptions"
    | "duplicate_subscription"
    | "unknown_subscription"
    | "snapshot_unavailable";
  /**
   * A text for developers. Programs must not parse it.
   */
  message: string;
}
export interface TokenExpiringFrame {
  op: "token_expiring";
  expiresAt: Timestamp;
}
export interface ReconnectFrame {
  op: "reconnect";
  /**
   * Time to wait before the client connects again. Each client gets a different time.
   */
  afterMs: number;
  reason: "drain";
}
export interface ClosedFrame {
  op: "closed";
  /**
   * One of the x-close-codes of the channel wallet.
   */
  code: number;
  /**
   * The code's reason.
   */
  reason: string;
}
