import type { Clock } from "./clock.ts";

/** How long a connection may be silent after the gateway's heartbeat, in milliseconds. */
const SLACK = 10_000;

/** How long it may be silent while somebody sees the page, in milliseconds. */
const VISIBLE_SILENCE = 10_000;

/** How long the answer to a ping may take, in milliseconds. */
const PONG_TIMEOUT = 5_000;

export interface WatchdogEvents {
  ping(): void;
  dead(): void;
}

/**
 * Notices a dead connection by the wall clock, so that it works after a sleep of the computer, when
 * timers are late.
 */
export class Watchdog {
  readonly #clock: Clock;
  readonly #events: WatchdogEvents;
  #silence = 0;
  #isCheap = true;
  #heardAt = 0;
  #pingedAt: number | undefined;
  #timer: unknown;

  constructor(clock: Clock, events: WatchdogEvents) {
    this.#clock = clock;
    this.#events = events;
  }

  /**
   * Watches a connection with this time between heartbeats, in milliseconds. A visible page pings
   * more often if that is cheap.
   */
  start(heartbeat: number, isCheap: boolean): void {
    this.#silence = heartbeat + SLACK;
    this.#isCheap = isCheap;
    this.heard();
    this.#schedule();
  }

  stop(): void {
    this.#clock.clearTimeout(this.#timer);
    this.#pingedAt = undefined;
  }

  /** Notes that a frame arrived. */
  heard(): void {
    this.#heardAt = this.#clock.now();
    this.#pingedAt = undefined;
  }

  /** Pings at once, unless an answer is already awaited. */
  check(): void {
    if (this.#pingedAt !== undefined) return;
    this.#pingedAt = this.#clock.now();
    this.#events.ping();
    this.#schedule();
  }

  #schedule(): void {
    this.#clock.clearTimeout(this.#timer);
    this.#timer = this.#clock.setTimeout(() => this.#run(), Math.max(0, this.#due() - this.#clock.now()));
  }

  /** Returns when to act. A wall clock that was set back must not delay that for long. */
  #due(): number {
    this.#heardAt = Math.min(this.#heardAt, this.#clock.now());
    if (this.#pingedAt !== undefined) return this.#pingedAt + PONG_TIMEOUT;
    const isSeen = this.#isCheap && globalThis.document?.hidden === false;
    return this.#heardAt + (isSeen ? VISIBLE_SILENCE : this.#silence);
  }

  #run(): void {
    if (this.#due() > this.#clock.now()) this.#schedule();
    else if (this.#pingedAt === undefined) this.check();
    else this.#events.dead();
  }
}
