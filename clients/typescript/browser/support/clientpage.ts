import type { Options, Seen } from "../page.ts";
import { until } from "./programs.ts";

/** Returns the value of an expression in a page. */
export type Evaluate = (expression: string) => Promise<any>;

const readSeen = `({
  states: seen.states,
  events: seen.events,
  resyncs: seen.resyncs,
  balance: seen.balance(),
  returns: seen.returns,
})`;

/** A page with a client. */
export class ClientPage {
  readonly evaluate: Evaluate;

  constructor(evaluate: Evaluate) {
    this.evaluate = evaluate;
  }

  async start(options: Options): Promise<this> {
    await until("the page is loaded", () => this.evaluate("'start' in globalThis"));
    await this.evaluate(`start(${JSON.stringify(options)})`);
    return this;
  }

  /** Returns what the client has seen. */
  async seen(): Promise<Omit<Seen, "balance"> & { balance: ReturnType<Seen["balance"]> }> {
    return this.evaluate(readSeen);
  }

  /** Waits until the client is live and has this balance. */
  async waitForBalance(available: number): Promise<void> {
    await until("the balance is " + available, async () => {
      const balance = await this.evaluate("seen.balance()");
      return balance.status === "live" && balance.available === available;
    });
  }

  async waitForEvents(count: number): Promise<void> {
    await until(`there are ${count} events`, () => this.evaluate(`seen.events.length >= ${count}`));
  }

  /** Waits until the client waits. Returns when that began, in milliseconds since 1970. */
  async waitForLoss(since: number): Promise<number> {
    let at = 0;
    await until("the client waits", async () => {
      const { states } = await this.seen();
      at = states.find((state) => state.name === "waiting" && state.at >= since)?.at ?? 0;
      return at > 0;
    });
    return at;
  }
}
