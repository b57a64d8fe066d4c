import type { Clock } from "../../src/clock.ts";

interface Timer {
  due: number;
  run: () => void;
}

/** A clock that moves only when the test says so. */
export class VirtualClock implements Clock {
  #now: number;
  #timers = new Set<Timer>();
  random: () => number;

  constructor(start = Date.UTC(2026, 0, 1), random: () => number = () => 0.5) {
    this.#now = start;
    this.random = random;
  }

  now(): number {
    return this.#now;
  }

  setTimeout(run: () => void, milliseconds: number): unknown {
    const timer = { due: this.#now + milliseconds, run };
    this.#timers.add(timer);
    return timer;
  }

  clearTimeout(handle: unknown): void {
    this.#timers.delete(handle as Timer);
  }

  /** The number of timers that have not run. */
  get pending(): number {
    return this.#timers.size;
  }

  clear(): void {
    this.#timers.clear();
  }

  /** Moves on and runs each timer at its time. Waits in between for what the timer started. */
  async advance(milliseconds: number, settle: () => Promise<void> = settleMicrotasks): Promise<void> {
    const end = this.#now + milliseconds;
    for (;;) {
      await settle();
      const timer = this.#next();
      if (!timer || timer.due > end) break;
      this.#now = Math.max(this.#now, timer.due);
      this.#timers.delete(timer);
      timer.run();
    }
    this.#now = end;
    await settle();
  }

  /** Sets the wall clock to another time. The timers keep their delays. */
  set(now: number): void {
    for (const timer of this.#timers) timer.due += now - this.#now;
    this.#now = now;
  }

  /** The computer sleeps: the time jumps, and then the timers that are due run. */
  async sleep(milliseconds: number, settle: () => Promise<void> = settleMicrotasks): Promise<void> {
    await settle();
    this.#now += milliseconds;
    await this.advance(0, settle);
  }

  #next(): Timer | undefined {
    let next: Timer | undefined;
    for (const timer of this.#timers) {
      if (!next || timer.due < next.due) next = timer;
    }
    return next;
  }
}

/** Waits until promises that depend on nothing else have settled. */
export async function settleMicrotasks(): Promise<void> {
  for (let i = 0; i < 12; i++) await null;
}
