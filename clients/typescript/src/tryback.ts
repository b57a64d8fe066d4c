import type { Clock } from "./clock.ts";
import { reconnectNow } from "./reconnect.ts";
import type { OpenTransport, Transport } from "./transport.ts";

/** The time between two attempts to open a WebSocket beside an event stream, in milliseconds. */
const tryBackMs = 5 * 60_000;

/**
 * Wraps `openEvents` so that an event stream is left when a WebSocket can be opened again. That is
 * tried every five minutes, and when the browser says that the network is back.
 */
export function tryBack(
  openEvents: OpenTransport,
  openSocket: OpenTransport,
  clock: Clock,
): OpenTransport {
  return (url, events, use) => {
    let attempt: Transport | undefined;
    let ended = false;
    let timer: unknown;

    const transport = openEvents(
      url,
      {
        open: () => events.open(),
        message: (text) => events.message(text),
        close(end) {
          ended = true;
          clock.clearTimeout(timer);
          globalThis.removeEventListener?.("online", trySocket);
          attempt?.close();
          events.close(end);
        },
      },
      use,
    );

    const trySocket = () => {
      attempt ??= openSocket(url, { open: moveBack, message() {}, close: wait }, use);
    };

    const moveBack = () => {
      if (ended) return;
      events.message(reconnectNow);
      transport.close(1012, "a WebSocket opens again");
    };

    const wait = () => {
      attempt = undefined;
      clock.clearTimeout(timer);
      if (!ended) timer = clock.setTimeout(trySocket, tryBackMs);
    };

    wait();
    globalThis.addEventListener?.("online", trySocket);
    return transport;
  };
}
