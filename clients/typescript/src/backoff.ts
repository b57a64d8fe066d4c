import type { Clock } from "./clock.ts";

const FIRST_CAP = 500;
const LAST_CAP = 20_000;

/** How long something must work until the next failure counts as the first, in milliseconds. */
const STABLE_AFTER = 30_000;

/**
 * The delays between tries: random times below a bound that grows from 0.5 to 20 s. The bound is not
 * longer than the failures have lasted, so that short random delays do not lead to long ones at once.
 */
export class Backoff {
  readonly #clock: Clock;
  #failures = 0;
  #failingSince = 0;
  /** The time from which on a failure counts as the first. */
  #stableAt = Infinity;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** Notes that the try succeeded. */
  succeed(): void {
    this.#stableAt = this.#clock.now() + STABLE_AFTER;
  }

  /** Forgets all failures. */
  reset(): void {
    this.#failures = 0;
  }

  /** Tells whether nothing has failed since it worked for long. */
  isFirst(): boolean {
    if (this.#clock.now() >= this.#stableAt) this.#failures = 0;
    return !this.#failures;
  }

  /** Notes a failure. Returns the time until the next try in milliseconds. */
  fail(): number {
    const now = this.#clock.now();
    if (this.isFirst()) this.#failingSince = now;
    this.#stableAt = Infinity;
    const cap = Math.min(LAST_CAP, FIRST_CAP * 2 ** this.#failures++, now - this.#failingSince);
    return this.#clock.random() * Math.max(FIRST_CAP, cap);
  }
}
