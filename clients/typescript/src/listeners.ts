/** Calls a function of the application. Its exception is reported, and affects nobody else. */
export type Guard = (run: () => void) => void;

/** Returns a guard that reports to this function. */
export function createGuard(report: (error: unknown) => void): Guard {
  return (run) => {
    try {
      run();
    } catch (error) {
      report(error);
    }
  };
}

/** Functions that are called after a change. */
export class Listeners {
  readonly #guard: Guard;
  readonly #all = new Set<() => void>();

  constructor(guard: Guard) {
    this.#guard = guard;
  }

  get size(): number {
    return this.#all.size;
  }

  /** Returns a function that removes the listener. A listener may be added twice. */
  add(listener: () => void): () => boolean {
    const entry = () => listener();
    this.#all.add(entry);
    return () => this.#all.delete(entry);
  }

  /** Calls the listeners, but not those that another one removes. */
  call(): void {
    for (const entry of [...this.#all]) {
      if (this.#all.has(entry)) this.#guard(entry);
    }
  }
}
