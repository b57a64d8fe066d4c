import type { ServerFrame, SubscribeFrame } from "../../src/protocol.ts";
import type { WebSocketConstructor, WebSocketLike } from "../../src/transport.ts";
import { userSnapshot, eventFrame, welcome } from "./gateway.ts";

type UserAccount = `user:${string}`;

/** The history of one account in the model. */
export class Ledger {
  readonly account: UserAccount;
  /** The chain after each event. chains[0] is the chain before the first one. */
  chains = ["0".repeat(16)];
  /** Tells for each chain that ever was which chain was before it. */
  readonly parents = new Map<string, string>();
  static #count = 0;

  constructor(account: UserAccount) {
    this.account = account;
  }

  get seq(): number {
    return this.chains.length - 1;
  }

  append(): void {
    const chain = (++Ledger.#count).toString(16).padStart(16, "0");
    this.parents.set(chain, this.chains.at(-1)!);
    this.chains.push(chain);
  }

  /** Returns the seq to which the ledger goes back. */
  rewind(events: number): number {
    this.chains.length -= Math.min(events, this.seq);
    return this.seq;
  }

  snapshot(seq = this.seq) {
    return { ...userSnapshot(seq, 0, this.account), chain: this.chains[seq]! };
  }

  event(sub: string, seq: number): ServerFrame {
    return { ...(eventFrame(sub, seq, 0, this.account) as object), chain: this.chains[seq]! } as ServerFrame;
  }
}

/** Faults of the gateway's next frames with events. */
export interface Faults {
  drop: number;
  repeat: number;
  swap: number;
}

const noFaults: Faults = { drop: 0, repeat: 0, swap: 0 };

/** A hostile gateway: what it does to its connections, and what it must do all the same. */
export class ModelGateway {
  readonly ledgers: Map<string, Ledger>;
  readonly WebSocket: WebSocketConstructor;
  readonly faults: Faults = { ...noFaults };
  /** Frames wait until it is false again. */
  isHolding = false;
  /** The events before these seqs are lost, so that a resume gets a resync. */
  readonly forgottenBelow = new Map<string, number>();
  connection: ModelSocket | undefined;
  refusesHandshakes = false;

  constructor(accounts: UserAccount[]) {
    this.ledgers = new Map(accounts.map((account) => [account, new Ledger(account)]));
    const gateway = this;
    this.WebSocket = class extends ModelSocket {
      constructor() {
        super(gateway);
      }
    };
  }

  /** Appends events to the ledger of an account, and sends them. */
  emit(account: string, count: number): void {
    const ledger = this.ledgers.get(account)!;
    for (let i = 0; i < count; i++) {
      ledger.append();
      this.connection?.sendEvent(ledger, ledger.seq);
    }
  }

  /**
   * The ledger goes back, and other events follow. If the gateway does not notice, the events come
   * in order up to one that the client cannot have, as another gateway's memory would have them.
   */
  rewind(account: string, back: number, isNoticed: boolean): void {
    const ledger = this.ledgers.get(account)!;
    const before = ledger.seq;
    this.connection?.sendSwapped();
    const seq = ledger.rewind(back);
    this.forgottenBelow.set(account, Math.min(seq, this.forgottenBelow.get(account) ?? 0));
    if (isNoticed) this.connection?.sendResyncs(ledger, seq);
    const count = isNoticed ? 1 : before - seq + 1;
    for (let i = 0; i < count; i++) {
      ledger.append();
      this.connection?.sendEvent(ledger, ledger.seq, { ...noFaults });
    }
  }

  release(): void {
    this.isHolding = false;
    this.connection?.flush();
  }

  calm(): void {
    Object.assign(this.faults, noFaults);
    this.refusesHandshakes = false;
    this.release();
  }
}

interface ModelSubscription {
  name: string;
  accounts: Set<string>;
}

/** A connection to the model. */
class ModelSocket implements WebSocketLike {
  onopen: ((event: unknown) => void) | null = null;
  onmessage: ((event: unknown) => void) | null = null;
  onerror: ((event: unknown) => void) | null = null;
  onclose: ((event: unknown) => void) | null = null;
  readonly #gateway: ModelGateway;
  readonly #subscriptions = new Map<string, ModelSubscription>();
  #queue: string[] = [];
  #swapped: string | undefined;
  #isClosed = false;

  constructor(gateway: ModelGateway) {
    this.#gateway = gateway;
    queueMicrotask(() => {
      if (this.#isClosed) return;
      if (gateway.refusesHandshakes) return this.end(1006, "");
      gateway.connection = this;
      this.onopen?.({});
    });
  }

  send(data: string): void {
    const frame = JSON.parse(data);
    switch (frame.op) {
      case "auth":
        return this.#enqueue(welcome);
      case "ping":
        return this.#enqueue({ op: "pong" });
      case "subscribe":
        return this.#subscribe(frame);
      case "unsubscribe":
        this.#subscriptions.delete(frame.sub);
        return this.#enqueue({ op: "unsubscribed", sub: frame.sub });
    }
  }

  close(): void {
    this.#leave();
  }

  end(code: number, reason: string): void {
    if (this.#isClosed) return;
    this.#leave();
    this.onclose?.({ code, reason });
  }

  /** Sends an event with the faults that are due. */
  sendEvent(ledger: Ledger, seq: number, faults: Faults = this.#gateway.faults): void {
    for (const { name, accounts } of this.#subscriptions.values()) {
      if (accounts.has(ledger.account)) this.#sendFaulty(JSON.stringify(ledger.event(name, seq)), faults);
    }
  }

  /** Sends the event that waits for the one after it. */
  sendSwapped(): void {
    if (this.#swapped !== undefined) this.#queue.push(this.#swapped);
    this.#swapped = undefined;
  }

  sendResyncs(ledger: Ledger, seq: number): void {
    for (const { name, accounts } of this.#subscriptions.values()) {
      if (accounts.has(ledger.account)) this.#enqueue(resync(name, ledger, seq, "history_changed"));
    }
  }

  /** Sends what waits, in messages of one to three frames. */
  flush(): void {
    while (!this.#gateway.isHolding && this.#queue.length > 0 && !this.#isClosed) {
      const data = this.#queue.splice(0, 1 + (this.#queue.length % 3)).join("\n");
      this.onmessage?.({ data });
    }
  }

  #leave(): void {
    this.#isClosed = true;
    if (this.#gateway.connection === this) this.#gateway.connection = undefined;
  }

  #sendFaulty(text: string, faults: Faults): void {
    if (faults.drop > 0) {
      faults.drop--;
      return;
    }
    if (faults.swap > 0 && this.#swapped === undefined) {
      faults.swap--;
      this.#swapped = text;
      return this.#flushLater();
    }
    this.#queue.push(text);
    this.sendSwapped();
    if (faults.repeat > 0) {
      faults.repeat--;
      this.#queue.push(text);
    }
    this.#flushLater();
  }

  #enqueue(frame: ServerFrame): void {
    this.#queue.push(JSON.stringify(frame));
    this.#flushLater();
  }

  #flushLater(): void {
    queueMicrotask(() => this.flush());
  }

  #subscribe({ sub, accounts = [], after = {}, chain = {}, snapshot = true }: SubscribeFrame): void {
    const answers = [];
    const followers: ServerFrame[] = [];
    for (const account of accounts) {
      const ledger = this.#gateway.ledgers.get(account)!;
      const from = after[account];
      if (from === undefined) {
        answers.push(begin(ledger, snapshot));
        continue;
      }

      const isSameHistory = ledger.chains[from] === chain[account];
      const isKept = from >= (this.#gateway.forgottenBelow.get(account) ?? 0);
      const recovered = isSameHistory && isKept;
      answers.push({ account: ledger.account, seq: from, chain: chain[account]!, recovered });
      if (!recovered) {
        const reason = isSameHistory ? "history_unavailable" : "history_changed";
        followers.push(resync(sub, ledger, ledger.seq, reason));
        continue;
      }
      for (let seq = from + 1; seq <= ledger.seq; seq++) followers.push(ledger.event(sub, seq));
    }
    this.#subscriptions.set(sub, { name: sub, accounts: new Set(accounts) });
    this.#enqueue({ op: "subscribed", sub, accounts: answers });
    for (const frame of followers) {
      if (frame.op === "resync") this.#enqueue(frame);
      else this.#sendFaulty(JSON.stringify(frame), this.#gateway.faults);
    }
  }
}

function begin(ledger: Ledger, withSnapshot: boolean) {
  const { account, seq } = ledger;
  const snapshot = ledger.snapshot();
  return { account, seq, chain: snapshot.chain, recovered: false, ...(withSnapshot && { snapshot }) };
}

function resync(
  sub: string,
  ledger: Ledger,
  seq: number,
  reason: "history_unavailable" | "history_changed",
): ServerFrame {
  const snapshot = ledger.snapshot(seq);
  return { op: "resync", sub, account: ledger.account, seq, chain: snapshot.chain, snapshot, reason };
}
