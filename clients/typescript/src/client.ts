import { fromSnapshot } from "./balance.ts";
import { Balances } from "./balances.ts";
import { chooseTransport } from "./choose.ts";
import { systemClock } from "./clock.ts";
import { Connection } from "./connection.ts";
import { RealtimeError } from "./errors.ts";
import { createGuard, Listeners } from "./listeners.ts";
import type { EventFrame, ResyncFrame } from "./protocol.ts";
import { Subscription } from "./subscription.ts";
import { Subscriptions } from "./subscriptions.ts";
import type { Client, ClientOptions, EventFilter, EventHandlers } from "./types.ts";
import { watchPage } from "./wake.ts";
import { openWebSocket } from "./websocket.ts";

/**
 * Creates a client of a gateway. It connects as soon as a balance or a subscription is wanted.
 * Throws a RealtimeError with the code bad_url if the url is no address of a WebSocket.
 */
export function createClient(options: ClientOptions): Client {
  const { url, getToken, clock = systemClock, storage } = options;
  if (!/^wss?:\/\/[^/]/.test(url)) {
    throw new RealtimeError(
      "bad_url",
      `url must be a WebSocket address such as wss://gateway.example.com/v1/ws, not ${url}`,
    );
  }
  const report = (error: unknown) => {
    try {
      (options.report ?? console.error)(error);
    } catch {
      // Nothing is left to tell.
    }
  };

  const guard = createGuard(report);
  const listeners = new Listeners(guard);
  const transports = chooseTransport(openWebSocket, options, clock);
  const connection = new Connection({
    url,
    getToken,
    clock,
    open: transports.open,
    use: { WebSocket: options.WebSocket, fetch: options.fetch },
    report,
    changed: () => listeners.call(),
    welcome: (isRenewal) => subscriptions.welcome(isRenewal),
    frame: (frame) => subscriptions.handle(frame),
    down() {
      subscriptions.down();
      const { state } = connection;
      if (state.name === "closed" && state.error) subscriptions.end(state.error);
    },
  });
  const subscriptions = new Subscriptions({
    clock,
    start: () => connection.start(),
    send: (frame) => connection.send(frame),
    guard,
    report,
  });
  const unwatchPage = watchPage({
    online() {
      transports.reset();
      connection.wake();
    },
    offline: () => connection.offline(),
    wake: () => connection.wake(),
    pause: () => connection.pause(),
  });
  const balances = new Balances({ clock, subscriptions, storage, guard, report });

  return {
    get state() {
      return connection.state;
    },
    balance: (account) => balances.store(account),
    subscribe(filter, handlers) {
      const subscription = eventSubscription(filter, handlers);
      subscriptions.add(subscription);
      return () => subscriptions.remove(subscription);
    },
    on: (_name, listener) => listeners.add(() => listener(connection.state)),
    setUser(newGetToken) {
      if (isClosed()) return;
      balances.keeper?.forget();
      subscriptions.forget();
      connection.setUser(newGetToken);
    },
    close() {
      if (isClosed()) return;
      unwatchPage();
      balances.keeper?.flush();
      connection.end("closed");
    },
  };

  /** Tells whether the application has ended the client. */
  function isClosed(): boolean {
    const { state } = connection;
    return state.name === "closed" && state.reason === "closed";
  }

  function eventSubscription(filter: EventFilter, handlers: EventHandlers): Subscription {
    const sink = {
      event({ event, account, seq, chain }: EventFrame) {
        handlers.event(event, { account, seq, chain });
      },
      resync({ account, seq, chain, reason, snapshot }: ResyncFrame) {
        handlers.resync?.({ account, seq, chain, reason, balance: fromSnapshot(snapshot) });
      },
      failed: (error: RealtimeError) => handlers.error?.(error),
    };
    return new Subscription(filter, sink, clock, false);
  }
}
