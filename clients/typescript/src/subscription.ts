import { Backoff } from "./backoff.ts";
import type { Clock } from "./clock.ts";
import type { RealtimeError } from "./errors.ts";
import type {
  Account,
  EventFrame,
  ResyncFrame,
  SubscribedAccount,
  SubscribeFrame,
} from "./protocol.ts";
import type { EventFilter } from "./types.ts";

/** Who gets what arrives for a subscription. Exceptions are caught and reported. */
export interface Sink {
  /** The subscription is open. Balances are in the snapshots, and known ones continue. */
  opened?(accounts: SubscribedAccount[]): void;
  event(frame: EventFrame): void;
  resync(frame: ResyncFrame): void;
  /** The subscription is no longer open, and may be for a while. Also called when it was not open. */
  closed?(): void;
  failed(error: RealtimeError, isTemporary: boolean): void;
  /** The user was switched. */
  forget?(): void;
  /** The client has ended. */
  ended?(error: RealtimeError): void;
}

/** Where a subscription stands in the history of an account. */
export interface Position {
  seq: number;
  chain: string;
  /** The gateway has announced a resync. Events before it belong nowhere. */
  awaitsResync?: boolean;
}

/**
 * wanted: it should be sent. sent: the answer has not arrived. open: events arrive. paused: a timer
 * makes it wanted. refused: the next token may make it possible.
 */
export type Phase = "wanted" | "sent" | "open" | "paused" | "refused";

/** One subscription, with its positions and its state on the wire. */
export class Subscription {
  readonly sink: Sink;
  readonly backoff: Backoff;
  readonly positions = new Map<Account, Position>();
  phase: Phase = "wanted";
  /** The name of the opening that was sent last. */
  name = "";
  /** The error that the sink got since the subscription was open last. */
  errorCode: string | undefined;
  /** The accounts whose positions were lost. The next opening begins them with a resync. */
  readonly lost = new Set<Account>();
  timer: unknown;
  readonly #filter: EventFilter;
  readonly #snapshot: boolean;
  readonly #everyAccount: boolean;
  /** Without a filter, seq rises by one from event to event. */
  readonly #isDense: boolean;

  constructor(filter: EventFilter, sink: Sink, clock: Clock, snapshot: boolean) {
    const { accounts, types, reasons, features, minAmount } = filter;
    this.#filter = { ...filter };
    this.sink = sink;
    this.backoff = new Backoff(clock);
    this.#snapshot = snapshot;
    this.#everyAccount = accounts?.[0] === "*";
    this.#isDense = !types && !reasons && !features && minAmount === undefined;
  }

  frame(): SubscribeFrame {
    const after: { [account: string]: number } = {};
    const chain: { [account: string]: string } = {};
    for (const [account, position] of this.positions) {
      after[account] = position.seq;
      chain[account] = position.chain;
    }
    return {
      op: "subscribe",
      sub: this.name,
      ...(this.#filter as Partial<SubscribeFrame>),
      ...(this.positions.size > 0 && { after, chain }),
      ...(!this.#snapshot && this.lost.size === 0 && { snapshot: false }),
    };
  }

  /** Forgets the positions. The application must learn that it may miss events. */
  loseHistory(): void {
    for (const account of this.positions.keys()) this.lost.add(account);
    this.positions.clear();
  }

  /** Takes over where an account begins. Returns false if the gateway resumes elsewhere. */
  acceptStart({ account, seq, chain, recovered }: SubscribedAccount): boolean {
    if (account === "*") return true;
    const position = this.positions.get(account);
    if (!position) {
      this.positions.set(account, { seq, chain });
      return true;
    }
    position.awaitsResync = !recovered;
    return !recovered || (seq === position.seq && chain === position.chain);
  }

  /** Decides about an event: it comes next, was there before, or does not fit. */
  judge({ account, seq, chain }: EventFrame): "next" | "repeat" | "broken" {
    if (this.phase !== "open") return "repeat";
    if (this.#everyAccount) return "next";
    const position = this.positions.get(account);
    if (!position || position.awaitsResync) return "broken";
    if (seq < position.seq) return "repeat";
    if (seq === position.seq) return chain === position.chain ? "repeat" : "broken";
    return this.#isDense && seq !== position.seq + 1 ? "broken" : "next";
  }

  /** Moves the position of the frame's account, also backwards. */
  moveTo({ account, seq, chain }: EventFrame | ResyncFrame): void {
    if (!this.#everyAccount) this.positions.set(account, { seq, chain });
  }
}
