import type { Clock } from "./clock.ts";
import type { Account } from "./protocol.ts";
import type { Balance, BalanceStorage, StoredBalance } from "./types.ts";

/** How long a change may wait until it is saved, in milliseconds. */
const SAVE_DELAY = 1_000;

/** How long the client waits for the storage before it asks the gateway, in milliseconds. */
const LOAD_TIMEOUT = 2_000;

/** Keeps balances in the application's storage. Its exceptions are reported. */
export class BalanceKeeper {
  readonly #storage: BalanceStorage;
  readonly #clock: Clock;
  readonly #report: (error: unknown) => void;
  /** What is not saved yet. */
  readonly #changed = new Map<Account, Balance>();
  #timer: unknown;

  constructor(storage: BalanceStorage, clock: Clock, report: (error: unknown) => void) {
    this.#storage = storage;
    this.#clock = clock;
    this.#report = report;
  }

  /** Returns the balance that was saved, or nothing. */
  async load(account: Account): Promise<Balance | undefined> {
    let timer: unknown;
    const timeout = new Promise<undefined>((resolve) => {
      timer = this.#clock.setTimeout(() => resolve(undefined), LOAD_TIMEOUT);
    });
    try {
      const stored = await Promise.race([this.#storage.load(account), timeout]);
      return isStoredBalance(stored, account) ? stored.balance : undefined;
    } catch (error) {
      this.#report(error);
      return undefined;
    } finally {
      this.#clock.clearTimeout(timer);
    }
  }

  /** Saves the balance within a second. */
  keep(balance: Balance): void {
    if (this.#changed.size === 0) {
      this.#timer = this.#clock.setTimeout(() => this.flush(), SAVE_DELAY);
    }
    this.#changed.set(balance.account, balance);
  }

  /** Saves all balances now. */
  flush(): void {
    this.#clock.clearTimeout(this.#timer);
    for (const balance of this.#changed.values()) void this.#save(balance);
    this.#changed.clear();
  }

  /** Does not save what is not saved yet. */
  forget(): void {
    this.#clock.clearTimeout(this.#timer);
    this.#changed.clear();
  }

  async #save(balance: Balance): Promise<void> {
    const { account, seq, chain } = balance;
    try {
      await this.#storage.save({ account, seq, chain, balance });
    } catch (error) {
      this.#report(error);
    }
  }
}

/** Tells whether what a storage returned is the record of this account. */
function isStoredBalance(value: unknown, account: Account): value is StoredBalance {
  const record = value as StoredBalance | null | undefined;
  const { seq, chain, balance } = record ?? {};
  if (!balance || balance.account !== account || balance.seq !== seq || balance.chain !== chain) return false;
  const points = account.startsWith("user:") ? [balance.available, balance.escrow] : [balance.earned];
  return /^[0-9a-f]{16}$/.test(chain!) && [seq, ...points].every(Number.isSafeInteger);
}
