import { applyEvent, fromSnapshot, isStoredBalance } from "./balance.ts";
import type { Clock } from "./clock.ts";
import type { RealtimeError } from "./errors.ts";
import type { Account, EventFrame, ResyncFrame, SubscribedAccount } from "./protocol.ts";
import { Subscription, type Sink } from "./subscription.ts";
import type { Subscriptions } from "./subscriptions.ts";
import type { Balance, BalanceOf, BalanceState, BalanceStorage, BalanceStore } from "./types.ts";

/** How long a change may wait until it is stored, in milliseconds. */
const SAVE_DELAY = 1_000;

/** How long the client waits for the storage before it asks the gateway, in milliseconds. */
const LOAD_TIMEOUT = 2_000;

export interface BalancesSetup {
  clock: Clock;
  subscriptions: Subscriptions;
  storage: BalanceStorage | undefined;
  report(error: unknown): void;
}

const LOADING: BalanceState = { status: "loading" };

/** The balances that an application reads, one subscription for each account. */
export class Balances {
  readonly #setup: BalancesSetup;
  readonly #read = new Map<Account, LiveBalance>();

  constructor(setup: BalancesSetup) {
    this.#setup = setup;
  }

  store<A extends Account>(account: A): BalanceStore<BalanceOf<A>> {
    const store: BalanceStore = {
      get: () => this.#read.get(account)?.state ?? LOADING,
      subscribe: (listener) => this.#watch(account, listener),
    };
    return store as unknown as BalanceStore<BalanceOf<A>>;
  }

  /** Stores what was not stored yet. */
  flush(): void {
    for (const balance of this.#read.values()) balance.flush();
  }

  #watch(account: Account, listener: () => void): () => void {
    let balance = this.#read.get(account);
    if (!balance) {
      balance = new LiveBalance(account, this.#setup);
      this.#read.set(account, balance);
      balance.open();
    }

    // A function may be given twice, and each time stops alone.
    const entry = { listener };
    const watched = balance;
    watched.listeners.add(entry);
    return () => {
      if (!watched.listeners.delete(entry) || watched.listeners.size > 0) return;
      this.#read.delete(account);
      watched.close();
    };
  }
}

/** A balance that has listeners. */
class LiveBalance implements Sink {
  readonly listeners = new Set<{ listener: () => void }>();
  state: BalanceState = LOADING;
  readonly #account: Account;
  readonly #setup: BalancesSetup;
  readonly #subscription: Subscription;
  #isClosed = false;
  #saveTimer: unknown;

  constructor(account: Account, setup: BalancesSetup) {
    this.#account = account;
    this.#setup = setup;
    this.#subscription = new Subscription({ accounts: [account] }, this, setup.clock, true);
  }

  open(): void {
    const { storage } = this.#setup;
    if (storage) this.#load(storage).finally(() => this.#subscribe());
    else this.#subscribe();
  }

  close(): void {
    this.#isClosed = true;
    this.flush();
    this.#setup.subscriptions.remove(this.#subscription);
  }

  flush(): void {
    if (this.#saveTimer !== undefined) this.#save();
  }

  opened([start]: SubscribedAccount[]): void {
    if (start?.snapshot) this.#set(fromSnapshot(start.snapshot));
    else if (this.state.balance && start?.recovered) this.#set(this.state.balance);
  }

  event(frame: EventFrame): void {
    const { balance } = this.state;
    if (balance) this.#set(applyEvent(balance, frame));
  }

  resync({ snapshot }: ResyncFrame): void {
    this.#set(fromSnapshot(snapshot));
  }

  closed(): void {
    const { status, balance } = this.state;
    if (status === "live") this.#change({ status: "stale", balance, since: this.#setup.clock.now() });
  }

  failed(error: RealtimeError, isTemporary: boolean): void {
    if (isTemporary && this.state.balance) return;
    // What the user may not see is not kept. The next opening begins with a snapshot.
    this.#subscription.positions.clear();
    this.#change({ status: "error", error });
  }

  ended(error: RealtimeError): void {
    if (!this.state.balance) this.#change({ status: "error", error });
  }

  forget(): void {
    this.#change(LOADING);
  }

  #subscribe(): void {
    if (!this.#isClosed) this.#setup.subscriptions.add(this.#subscription);
  }

  #set(balance: Balance): void {
    this.#change({ status: "live", balance });
    if (this.#setup.storage && this.#saveTimer === undefined) {
      this.#saveTimer = this.#setup.clock.setTimeout(() => this.#save(), SAVE_DELAY);
    }
  }

  #change(state: BalanceState): void {
    this.state = state;
    for (const entry of [...this.listeners]) {
      if (!this.listeners.has(entry)) continue;
      try {
        entry.listener();
      } catch (error) {
        this.#setup.report(error);
      }
    }
  }

  async #load(storage: BalanceStorage): Promise<void> {
    const { clock, report } = this.#setup;
    let timer: unknown;
    const timeout = new Promise<undefined>((resolve) => {
      timer = clock.setTimeout(() => resolve(undefined), LOAD_TIMEOUT);
    });
    try {
      const stored = await Promise.race([storage.load(this.#account), timeout]);
      if (this.#isClosed || !isStoredBalance(stored, this.#account)) return;
      const { seq, chain, balance } = stored;
      this.#subscription.positions.set(this.#account, { seq, chain });
      this.#change({ status: "stale", balance, since: clock.now() });
    } catch (error) {
      report(error);
    } finally {
      clock.clearTimeout(timer);
    }
  }

  async #save(): Promise<void> {
    const { clock, storage, report } = this.#setup;
    clock.clearTimeout(this.#saveTimer);
    this.#saveTimer = undefined;
    const { balance } = this.state;
    if (!balance) return;
    const { account, seq, chain } = balance;
    try {
      await storage!.save({ account, seq, chain, balance });
    } catch (error) {
      report(error);
    }
  }
}
