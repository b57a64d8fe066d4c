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
  const { document } = globalThis;
  const listeners: [EventTarget | undefined, string, () => void][] = [
    [globalThis as unknown as EventTarget, "online", online],
    [globalThis as unknown as EventTarget, "offline", offline],
    [globalThis as unknown as EventTarget, "pageshow", wake],
    [globalThis as unknown as EventTarget, "pagehide", pause],
    [document, "freeze", pause],
    [document, "resume", wake],
    [document, "visibilitychange", () => document.hidden || wake()],
  ];
  listeners.forEach(([target, name, run]) => target?.addEventListener?.(name, run));
  return () => listeners.forEach(([target, name, run]) => target?.removeEventListener?.(name, run));
}

/** Tells whether the browser says that there is no network. */
export const isOffline = (): boolean => globalThis.navigator?.onLine === false;
