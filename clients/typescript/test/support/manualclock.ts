import type { Clock } from "../../src/clock.ts";

/** A clock whose time passes only by advance. */
export class ManualClock implements Clock {
  private time = 0;
  private readonly timers = new Set<{ at: number; run: () => void }>();

  now(): number {
    return this.time;
  }

  random(): number {
    return 0.5;
  }

  setTimeout(run: () => void, milliseconds: number): unknown {
    const timer = { at: this.time + milliseconds, run };
    this.timers.add(timer);
    return timer;
  }

  clearTimeout(timer: unknown): void {
    this.timers.delete(timer as { at: number; run: () => void });
  }

  advance(milliseconds: number): void {
    this.time += milliseconds;
    for (const timer of this.timers) {
      if (timer.at > this.time) continue;
      this.timers.delete(timer);
      timer.run();
    }
  }

  /** The number of timers that wait. */
  get waiting(): number {
    return this.timers.size;
  }
}
