/** A page of a browser, with what a client asks of it. */
export class TestPage {
  readonly #window = new EventTarget();
  readonly document = Object.assign(new EventTarget(), { hidden: false });
  readonly navigator = { onLine: true };
  readonly #before = new Map<string, PropertyDescriptor | undefined>();

  /** Makes this the page of all clients that are created until uninstall. */
  install(): this {
    const { document, navigator } = this;
    const members = {
      document,
      navigator,
      addEventListener: this.#window.addEventListener.bind(this.#window),
      removeEventListener: this.#window.removeEventListener.bind(this.#window),
    };
    for (const [name, value] of Object.entries(members)) {
      this.#before.set(name, Object.getOwnPropertyDescriptor(globalThis, name));
      Object.defineProperty(globalThis, name, { value, configurable: true });
    }
    return this;
  }

  uninstall(): void {
    for (const [name, before] of this.#before) {
      if (before) Object.defineProperty(globalThis, name, before);
      else delete (globalThis as Record<string, unknown>)[name];
    }
  }

  setOnline(online: boolean): void {
    this.navigator.onLine = online;
    this.#window.dispatchEvent(new Event(online ? "online" : "offline"));
  }

  setHidden(hidden: boolean): void {
    this.document.hidden = hidden;
    this.document.dispatchEvent(new Event("visibilitychange"));
  }

  /** The page goes into the browser's cache, or comes back. */
  setCached(cached: boolean): void {
    this.#window.dispatchEvent(new Event(cached ? "pagehide" : "pageshow"));
  }

  setFrozen(frozen: boolean): void {
    this.document.dispatchEvent(new Event(frozen ? "freeze" : "resume"));
  }
}
