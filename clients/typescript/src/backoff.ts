import type { Clock } from "./clock.ts";

const FIRST_CAP = 500;
const LAST_CAP = 20_000;

/** How long something must work until the next failure counts as the first, in milliseconds. */
const STABLE_AFTER = 30_000;

/** The delays between tries: random times below a bound that grows from 0.5 to 20 s. */
export class Backoff {
  readonly #clock: Clock;
  #failures = 0;
  #worksSince: number | undefined;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** Notes that the try succeeded. */
  succeed(): void {
    this.#worksSince = this.#clock.now();
  }

  /** Forgets all failures. */
  reset(): void {
    this.#failures = 0;
  }

  /** Tells whether nothing has failed since it worked for long. */
  isFirst(): boolean {
    const wasStable =
      this.#worksSince !== undefined && this.#clock.now() - this.#worksSince >= STABLE_AFTER;
    if (wasStable) this.reset();
    return this.#failures === 0;
  }

  /** Notes a failure. Returns the time until the next try in milliseconds. */
  fail(): number {
    this.isFirst();
    this.#worksSince = undefined;
    const cap = Math.min(LAST_CAP, FIRST_CAP * 2 ** this.#failures++);
    return this.#clock.random() * cap;
  }
}
