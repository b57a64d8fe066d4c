import { Budget } from "./budget.ts";
import type { Clock } from "./clock.ts";
import { RealtimeError } from "./errors.ts";
import type { Guard } from "./listeners.ts";
import type {
  ClientFrame,
  ErrorFrame,
  EventFrame,
  ResyncFrame,
  ServerFrame,
  SubscribedFrame,
} from "./protocol.ts";
import type { Subscription } from "./subscription.ts";

/** The time that the gateway has for the answer to a subscribe, in milliseconds. */
const ANSWER_TIMEOUT = 30_000;

/** What subscriptions need of the connection. */
export interface SubscriptionsSetup {
  clock: Clock;
  /** Connects unless that has begun. */
  start(): void;
  send(frame: ClientFrame): void;
  guard: Guard;
  report(error: unknown): void;
}

/**
 * The subscriptions of a client. It keeps the gateway's list equal to the client's, and passes on
 * each event once and in order.
 *
 * Every opening of a subscription has a new name on the wire. So frames of an earlier opening are
 * recognized and ignored.
 */
export class Subscriptions {
  readonly #setup: SubscriptionsSetup;
  readonly #budget: Budget;
  readonly #all = new Set<Subscription>();
  readonly #byName = new Map<string, Subscription>();
  /** Names that the gateway still has and the client no longer wants. */
  #abandoned: string[] = [];
  #names = 0;
  #isLive = false;
  #isFlushing = false;

  constructor(setup: SubscriptionsSetup) {
    this.#setup = setup;
    this.#budget = new Budget(setup.clock);
  }

  add(subscription: Subscription): void {
    this.#all.add(subscription);
    this.#setup.start();
    this.#flushSoon();
  }

  remove(subscription: Subscription): void {
    this.#all.delete(subscription);
    this.#abandon(subscription);
    this.#flushSoon();
  }

  /** The gateway has accepted a token. Refused subscriptions may be possible now. */
  welcome(isRenewal: boolean): void {
    this.#isLive = true;
    for (const subscription of this.#all) {
      if (!isRenewal || subscription.phase === "refused") subscription.phase = "wanted";
    }
    this.#flushSoon();
  }

  /** The connection has ended. */
  down(): void {
    this.#isLive = false;
    for (const subscription of [...this.#all]) {
      this.#abandon(subscription);
      this.#close(subscription);
    }
    this.#abandoned = [];
  }

  /** Forgets the positions of all subscriptions, for another user. */
  forget(): void {
    for (const subscription of [...this.#all]) {
      subscription.positions.clear();
      subscription.lost.clear();
      subscription.errorCode = undefined;
      this.#setup.guard(() => subscription.sink.forget?.());
    }
    this.down();
  }

  /** The client has ended with an error. */
  end(error: RealtimeError): void {
    for (const subscription of [...this.#all]) {
      this.#setup.guard(() => subscription.sink.ended?.(error));
    }
  }

  handle(frame: ServerFrame): void {
    const subscription = "sub" in frame ? this.#byName.get(frame.sub ?? "") : undefined;
    if (frame.op === "error") return this.#refused(frame, subscription);
    if (!subscription) return;
    switch (frame.op) {
      case "subscribed":
        return this.#subscribed(frame, subscription);
      case "event":
        return this.#event(frame, subscription);
      case "resync":
        return this.#resync(frame, subscription);
      case "unsubscribed":
        this.#byName.delete(frame.sub);
        return this.#reopen(subscription);
    }
  }

  #subscribed(frame: SubscribedFrame, subscription: Subscription): void {
    if (subscription.phase !== "sent") return;
    this.#setup.clock.clearTimeout(subscription.timer);
    if (!frame.accounts.every((account) => subscription.acceptStart(account))) {
      return this.#reopen(subscription);
    }
    subscription.phase = "open";
    subscription.errorCode = undefined;
    subscription.backoff.succeed();
    const { lost, sink } = subscription;
    this.#setup.guard(() => sink.opened?.(frame.accounts));
    for (const account of frame.accounts) {
      const resync = { ...account, reason: "history_unavailable" } as unknown as ResyncFrame;
      if (lost.delete(resync.account)) this.#setup.guard(() => sink.resync(resync));
    }
    lost.clear();
  }

  #event(frame: EventFrame, subscription: Subscription): void {
    switch (subscription.judge(frame)) {
      case "next":
        subscription.moveTo(frame);
        return this.#setup.guard(() => subscription.sink.event(frame));
      case "broken":
        return this.#reopen(subscription);
    }
  }

  #resync(frame: ResyncFrame, subscription: Subscription): void {
    if (subscription.phase !== "open") return;
    subscription.moveTo(frame);
    this.#setup.guard(() => subscription.sink.resync(frame));
  }

  #refused(frame: ErrorFrame, subscription: Subscription | undefined): void {
    const { code, message, sub } = frame;
    const error = new RealtimeError(code, message);
    if (!subscription) {
      // An error about an abandoned name has no effect.
      if (sub === undefined) this.#setup.report(error);
      return;
    }

    this.#byName.delete(subscription.name);
    this.#setup.clock.clearTimeout(subscription.timer);
    // The token may have other accounts than those that were resumed. So the next try begins anew.
    const isOutdated = code === "bad_request" && subscription.positions.size > 0;
    if (isOutdated) subscription.loseHistory();
    // The balance comes back by itself, and other subscriptions may end.
    const isTemporary = isOutdated || code === "snapshot_unavailable" || code === "too_many_subscriptions";
    if (isTemporary) this.#pause(subscription);
    else subscription.phase = "refused";
    this.#close(subscription);
    if (subscription.errorCode === code) return;
    subscription.errorCode = code;
    this.#setup.report(error);
    this.#setup.guard(() => subscription.sink.failed(error, isTemporary));
  }

  /** Subscribes again, because the gateway's frames have a hole or another history. */
  #reopen(subscription: Subscription): void {
    this.#abandon(subscription);
    this.#flushSoon();
    // Most often one try heals it. So the first one comes at once, and the sink does not notice.
    if (subscription.backoff.isFirst()) {
      subscription.backoff.fail();
      return;
    }
    this.#pause(subscription);
    this.#close(subscription);
  }

  /** Opens the subscription later. */
  #pause(subscription: Subscription): void {
    subscription.phase = "paused";
    subscription.timer = this.#setup.clock.setTimeout(() => {
      subscription.phase = "wanted";
      this.#flushSoon();
    }, subscription.backoff.fail());
  }

  /** Ends the opening, and a pause. */
  #abandon(subscription: Subscription): void {
    this.#setup.clock.clearTimeout(subscription.timer);
    subscription.phase = "wanted";
    if (this.#byName.delete(subscription.name)) this.#abandoned.push(subscription.name);
  }

  #close(subscription: Subscription): void {
    this.#setup.guard(() => subscription.sink.closed?.());
  }

  /** Sends what the gateway must know, after the running code has ended. */
  #flushSoon(): void {
    if (this.#isFlushing) return;
    this.#isFlushing = true;
    queueMicrotask(() => {
      this.#isFlushing = false;
      this.#flush();
    });
  }

  #flush(): void {
    if (!this.#isLive) return;
    while (this.#abandoned.length > 0) {
      if (!this.#budget.spend(() => this.#flushSoon())) return;
      this.#setup.send({ op: "unsubscribe", sub: this.#abandoned.shift()! });
    }
    for (const subscription of this.#all) {
      if (subscription.phase !== "wanted") continue;
      if (!this.#budget.spend(() => this.#flushSoon())) return;
      subscription.phase = "sent";
      subscription.name = `s${++this.#names}`;
      this.#byName.set(subscription.name, subscription);
      this.#setup.send(subscription.frame());
      subscription.timer = this.#setup.clock.setTimeout(() => this.#reopen(subscription), ANSWER_TIMEOUT);
    }
  }
}
