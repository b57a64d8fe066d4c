/** The part of the Web Locks API that clients use, for Node, which has none before version 24. */
export class WebLocks {
  private readonly holders = new Map<string, (reason: Error) => void>();
  private readonly queues = new Map<string, (() => void)[]>();

  request(name: string, options: LockOptions | (() => unknown), callback?: () => unknown): Promise<unknown> {
    const run = callback ?? (options as () => unknown);
    const { steal = false } = callback ? (options as LockOptions) : {};
    return new Promise((resolve, reject) => {
      const start = () => {
        this.holders.set(name, reject);
        queueMicrotask(async () => {
          try {
            resolve(await run());
          } catch (error) {
            reject(error);
          }
          if (this.holders.get(name) === reject) this.next(name);
        });
      };
      if (steal) {
        this.holders.get(name)?.(new DOMException("The lock was stolen.", "AbortError"));
        start();
      } else if (this.holders.has(name)) {
        const queue = this.queues.get(name) ?? [];
        this.queues.set(name, [...queue, start]);
      } else {
        start();
      }
    });
  }

  private next(name: string): void {
    this.holders.delete(name);
    this.queues.get(name)?.shift()?.();
  }
}

/** Makes Web Locks available. Returns a function that ends this. */
export function installWebLocks(): () => void {
  const before = Object.getOwnPropertyDescriptor(globalThis, "navigator");
  Object.defineProperty(globalThis, "navigator", { value: { locks: new WebLocks() }, configurable: true });
  return () => {
    if (before) Object.defineProperty(globalThis, "navigator", before);
    else delete (globalThis as { navigator?: unknown }).navigator;
  };
}
