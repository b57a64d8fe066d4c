import type { Clock } from "./clock.ts";
import type { RealtimeError } from "./errors.ts";
import type { Account, WalletEvent } from "./protocol.ts";
import type { WebSocketConstructor } from "./transport.ts";

/** Why the client asks for a token. */
export type TokenReason =
  /** A connection is about to be opened. */
  | "connect"
  /** The token of the open connection expires soon. */
  | "expiring"
  /** The gateway refused the last token. */
  | "rejected";

export interface TokenRequest {
  reason: TokenReason;
  /** Aborts when the client no longer needs the token. Pass it to fetch. */
  signal: AbortSignal;
}

/**
 * Returns a token (a JWT) for the gateway. The client never calls it twice at a time, and treats
 * an exception and a call of over 30 s as a failure, after which it tries again. An `Unauthorized`
 * ends the client.
 */
export type GetToken = (request: TokenRequest) => string | Promise<string>;

export interface ClientOptions {
  /** The gateway's address, such as `wss://gateway.example.com/v1/ws`. */
  url: string;
  getToken: GetToken;
  /** Replaces the global WebSocket, for platforms without one. */
  WebSocket?: WebSocketConstructor;
  /**
   * Replaces the global fetch. Server-sent events stand in where WebSockets fail: in browsers, and
   * elsewhere if there is this fetch. It must be able to stream.
   */
  fetch?: typeof fetch;
  /** Keeps balances and positions, so that a reload resumes instead of asking for snapshots. */
  storage?: BalanceStorage;
  /** Shares one connection between the tabs of a browser. The default is false. */
  shareTabs?: boolean;
  /** Gets exceptions of listeners, and what developers should know. The default is console.error. */
  report?: (error: unknown) => void;
  /** @internal */
  clock?: Clock;
}

/** The state of the connection. */
export type ConnectionState =
  /** Nothing has asked for data yet. */
  | { name: "idle" }
  | { name: "connecting" }
  | { name: "live" }
  /** The connection failed. The client tries again at retryAt, in milliseconds since 1970. */
  | { name: "waiting"; retryAt: number; error?: RealtimeError }
  /** The client has ended for good: it was closed, or the gateway or getToken refused its user. */
  | { name: "closed"; reason: ClosedReason; error?: RealtimeError };

export type ClosedReason =
  /** close was called. */
  | "closed"
  /** getToken threw Unauthorized. */
  | "unauthorized"
  /** The gateway refused the user for good, for example because the token was revoked. */
  | "forbidden"
  /** An administrator closed the connection. */
  | "disconnected";

/** The balances of a user, in whole points. */
export interface UserBalance {
  account: Account;
  /** The number of the account's event that led to this balance. 0: there was none yet. */
  seq: number;
  /** Identifies the account's history up to seq: 16 hexadecimal digits. */
  chain: string;
  available: number;
  /** Points that are held. They are not part of available. */
  escrow: number;
  earned?: undefined;
  /** The time of the newest change. */
  updatedAt: string;
}

/** The balance of a model, in whole points. */
export interface ModelBalance {
  account: Account;
  seq: number;
  chain: string;
  earned: number;
  available?: undefined;
  escrow?: undefined;
  updatedAt: string;
}

export type Balance = UserBalance | ModelBalance;

/** The type of an account's balance. */
export type BalanceOf<A extends string> = A extends `user:${string}`
  ? UserBalance
  : A extends `model:${string}`
    ? ModelBalance
    : Balance;

/** What is known about a balance. An unknown balance is loading, and never zero. */
export type BalanceState<B extends Balance = Balance> =
  | { status: "loading"; balance?: undefined; error?: undefined }
  | { status: "live"; balance: B; error?: undefined }
  /** The balance may have changed since this time, in milliseconds since 1970. */
  | { status: "stale"; balance: B; since: number; error?: undefined }
  | { status: "error"; balance?: undefined; error: RealtimeError };

/** A balance to read and to watch. get returns the same object until the state changes. */
export interface BalanceStore<B extends Balance = Balance> {
  get(): BalanceState<B>;
  /** Calls listener after each change. The gateway is asked while there is a listener. */
  subscribe(listener: () => void): () => void;
}

/** Which events a subscription gets. Absent members do not restrict it. */
export interface EventFilter {
  /** 1 to 64 accounts. The default is the accounts of the token. `["*"]` is every account. */
  accounts?: readonly (Account | "*")[];
  types?: readonly WalletEvent["eventType"][];
  reasons?: readonly string[];
  features?: readonly string[];
  /** Only events of at least this many points. */
  minAmount?: number;
}

/** Where an event stands in the history of its account. */
export interface EventPosition {
  account: Account;
  seq: number;
  chain: string;
}

/** The state of an account replaces what the application knows of it. */
export interface Resync extends EventPosition {
  /**
   * history_unavailable: events were missed. history_changed: events that the application got
   * never happened, because the ledger's operator restored a backup.
   */
  reason: "history_unavailable" | "history_changed";
  balance: Balance;
}

/** The events of an account come once and in order. */
export interface EventHandlers {
  event(event: WalletEvent, position: EventPosition): void;
  /** Replaces the state of an account. The events that follow have a higher seq. */
  resync?(state: Resync): void;
  /** The gateway refused the subscription. The client tries temporary failures again. */
  error?(error: RealtimeError): void;
}

/** What a storage keeps of an account. */
export interface StoredBalance {
  account: Account;
  seq: number;
  chain: string;
  balance: Balance;
}

/** Where an application keeps balances, for example localStorage. Exceptions are reported. */
export interface BalanceStorage {
  /** Returns what was saved last, or nothing. */
  load(account: Account): Promise<StoredBalance | null | undefined> | StoredBalance | null | undefined;
  /** Called at most once a second for an account. */
  save(record: StoredBalance): Promise<void> | void;
}

/** A client of one gateway, with one connection. */
export interface Client {
  /** The state of the connection now. */
  readonly state: ConnectionState;
  /** Returns the balance of an account. It is read from the gateway while it has listeners. */
  balance<A extends Account>(account: A): BalanceStore<BalanceOf<A>>;
  /** Subscribes to events. Returns a function that ends the subscription. */
  subscribe(filter: EventFilter, handlers: EventHandlers): () => void;
  /** Calls listener after each change of the state. Returns a function that stops this. */
  on(name: "state", listener: (state: ConnectionState) => void): () => void;
  /**
   * Switches to another user. Forgets what belongs to the old user, connects with the new user's
   * token, and opens the balances and subscriptions again.
   */
  setUser(getToken: GetToken): void;
  /** Ends the client. It cannot be used again. */
  close(): void;
}
