/** What a client does when the page or the network changes. */
export interface Wake {
  /** The network is back. */
  online(): void;
  /** The browser says that there is no network. It may be wrong. */
  offline(): void;
  /** The page is visible or runs again. */
  wake(): void;
  /** The page stops: it ends, is frozen, or goes into the cache of the back button. */
  pause(): void;
}

/** Watches the page, if there is one. Returns a function that ends this. */
export function watchPage({ online, offline, wake, pause }: Wake): () => void {
  const controller = new AbortController();
  const listen = (target: EventTarget | undefined, listeners: Record<string, () => void>) => {
    for (const name in listeners) {
      target?.addEventListener?.(name, listeners[name]!, controller);
    }
  };
  const { document } = globalThis;
  listen(globalThis as unknown as EventTarget, { online, offline, pageshow: wake, pagehide: pause });
  listen(document, {
    freeze: pause,
    resume: wake,
    visibilitychange: () => document.hidden || wake(),
  });
  return () => controller.abort();
}

/** Tells whether the browser says that there is no network. */
export const isOffline = (): boolean => globalThis.navigator?.onLine === false;
