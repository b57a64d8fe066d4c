import { applyEvent, fromSnapshot } from "./balance.ts";
import type { Clock } from "./clock.ts";
import type { RealtimeError } from "./errors.ts";
import { Listeners, type Guard } from "./listeners.ts";
import type { Account, EventFrame, ResyncFrame, SubscribedAccount } from "./protocol.ts";
import type { BalanceKeeper } from "./storage.ts";
import { Subscription, type Sink } from "./subscription.ts";
import type { Subscriptions } from "./subscriptions.ts";
import type { Balance, BalanceOf, BalanceState, BalanceStorage, BalanceStore } from "./types.ts";

export interface BalancesSetup {
  clock: Clock;
  subscriptions: Subscriptions;
  storage: BalanceStorage | undefined;
  guard: Guard;
  report(error: unknown): void;
}

const LOADING: BalanceState = { status: "loading" };

/** The balances that an application reads, one subscription for each account. */
export class Balances {
  readonly #setup: BalancesSetup;
  readonly #read = new Map<Account, LiveBalance>();
  keeper: BalanceKeeper | undefined;
  #loading: Promise<void> | undefined;

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

  #watch(account: Account, listener: () => void): () => void {
    const { guard, clock, storage } = this.#setup;
    let balance = this.#read.get(account);
    if (!balance) {
      balance = new LiveBalance(account, this, guard, clock);
      this.#read.set(account, balance);
      if (storage) void this.#resume(balance, storage);
      else this.#setup.subscriptions.add(balance.subscription);
    }

    const watched = balance;
    const remove = watched.listeners.add(listener);
    return () => {
      if (!remove() || watched.listeners.size > 0) return;
      this.#read.delete(account);
      this.#setup.subscriptions.remove(watched.subscription);
    };
  }

  /** Subscribes to a balance after the one in the storage. */
  async #resume(balance: LiveBalance, storage: BalanceStorage): Promise<void> {
    // Few applications have a storage, so its code is loaded when it is needed.
    this.#loading ??= import("./storage.ts").then(
      ({ BalanceKeeper }) => {
        this.keeper = new BalanceKeeper(storage, this.#setup.clock, this.#setup.report);
      },
      (error) => this.#setup.report(error),
    );
    await this.#loading;
    const stored = await this.keeper?.load(balance.account);
    if (this.#read.get(balance.account) !== balance) return;
    if (stored) balance.resumeFrom(stored);
    this.#setup.subscriptions.add(balance.subscription);
  }
}

/** A balance that has listeners. */
class LiveBalance implements Sink {
  readonly account: Account;
  readonly listeners: Listeners;
  readonly subscription: Subscription;
  state: BalanceState = LOADING;
  readonly #owner: Balances;
  readonly #clock: Clock;

  constructor(account: Account, owner: Balances, guard: Guard, clock: Clock) {
    this.account = account;
    this.listeners = new Listeners(guard);
    this.subscription = new Subscription({ accounts: [account] }, this, clock, true);
    this.#owner = owner;
    this.#clock = clock;
  }

  resumeFrom(balance: Balance): void {
    const { seq, chain } = balance;
    this.subscription.positions.set(this.account, { seq, chain });
    this.#change({ status: "stale", balance, since: this.#clock.now() });
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
    if (status === "live") this.#change({ status: "stale", balance, since: this.#clock.now() });
  }

  failed(error: RealtimeError, isTemporary: boolean): void {
    if (isTemporary && this.state.balance) return;
    // What the user may not see is not kept. The next opening begins with a snapshot.
    this.subscription.positions.clear();
    this.#change({ status: "error", error });
  }

  ended(error: RealtimeError): void {
    if (!this.state.balance) this.#change({ status: "error", error });
  }

  forget(): void {
    this.#change(LOADING);
  }

  #set(balance: Balance): void {
    this.#owner.keeper?.keep(balance);
    this.#change({ status: "live", balance });
  }

  #change(state: BalanceState): void {
    this.state = state;
    this.listeners.call();
  }
}
