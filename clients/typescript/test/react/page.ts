import { createElement, StrictMode } from "react";
import type { ReactElement, ReactNode } from "react";
import { createRoot, hydrateRoot } from "react-dom/client";
import type { Root } from "react-dom/client";
import { WebSocket } from "ws";
import { createClient } from "../../src/index.ts";
import type { Client, WebSocketConstructor } from "../../src/index.ts";
import { RealtimeProvider } from "../../src/react/index.ts";
import { Gateway } from "./gateway.ts";

/** Slow machines are shared; a test fails by this time limit only when it hangs. */
const timeLimit = 60_000;

/** Waits until the condition holds. */
export async function until(condition: () => unknown, what = String(condition)): Promise<void> {
  const end = Date.now() + timeLimit;
  while (!condition()) {
    if (Date.now() > end) throw new Error(`waited too long for: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}

/** A document with a root, a client, and the gateway of the client. */
export class Page {
  readonly reports: unknown[] = [];
  readonly client: Client;
  readonly element: HTMLElement;
  private root: Root | undefined;

  private constructor(readonly gateway: Gateway) {
    this.client = createClient({
      url: gateway.url,
      getToken: () => "token",
      WebSocket: WebSocket as unknown as WebSocketConstructor,
      report: (error) => this.reports.push(error),
    });
    this.element = document.createElement("div");
    document.body.append(this.element);
  }

  static async open(): Promise<Page> {
    return new Page(await Gateway.start());
  }

  get text(): string {
    return this.element.textContent ?? "";
  }

  /** The children with the client, in StrictMode. */
  wrap(children: ReactNode): ReactElement {
    return createElement(StrictMode, null, createElement(RealtimeProvider, { client: this.client }, children));
  }

  render(children: ReactNode): void {
    this.root ??= createRoot(this.element);
    this.root.render(this.wrap(children));
  }

  hydrate(html: string, children: ReactNode): void {
    this.element.innerHTML = html;
    this.root = hydrateRoot(this.element, this.wrap(children));
  }

  async close(): Promise<void> {
    this.root?.unmount();
    this.client.close();
    this.element.remove();
    await this.gateway.stop();
  }
}
