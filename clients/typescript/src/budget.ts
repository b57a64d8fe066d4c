import type { Clock } from "./clock.ts";

/** Below the limits of a gateway, 20 frames/s with a burst of 40, to leave room for other frames. */
const BURST = 30;
const PER_SECOND = 15;

/** Limits the rate of frames. */
export class Budget {
  readonly #clock: Clock;
  #left = BURST;
  #filledAt = 0;
  #timer: unknown;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** Takes one frame's share. If none is left, it returns false, and calls later once there is. */
  spend(later: () => void): boolean {
    const now = this.#clock.now();
    this.#left = Math.min(BURST, this.#left + (Math.max(0, now - this.#filledAt) * PER_SECOND) / 1000);
    this.#filledAt = now;
    if (this.#left >= 1) {
      this.#left--;
      return true;
    }
    this.#clock.clearTimeout(this.#timer);
    this.#timer = this.#clock.setTimeout(later, 1000 / PER_SECOND);
    return false;
  }
}
