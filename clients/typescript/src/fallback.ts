import type { Clock } from "./clock.ts";
import type { OpenTransport, TransportEnd } from "./transport.ts";

/** A client that closes a WebSocket sooner has changed its mind, in milliseconds. */
const patienceMs = 5_000;

/** Opens WebSockets, or event streams where those fail. */
export interface Fallback {
  open: OpenTransport;
  /** Forgets the failures, because the network has changed. */
  reset(): void;
}

/**
 * Returns what opens a WebSocket, and an event stream after two WebSockets in a row have ended
 * without a frame. A WebSocket is next again when an event stream failed in the same way, or ended
 * with the code 1012, as it does when a WebSocket could be opened beside it.
 */
export function fallBack(
  openSocket: OpenTransport,
  openEvents: OpenTransport,
  clock: Clock,
): Fallback {
  let failures = 0; // of WebSockets in a row

  const open: OpenTransport = (url, events, use) => {
    const isSocket = failures < 2;
    const since = clock.now();
    let alive = false; // a frame has arrived
    const transportEvents = {
      open: () => events.open(),
      message(text: string) {
        alive = true;
        events.message(text);
      },
      close(end: TransportEnd) {
        if (!isSocket) failures = alive && end.code !== 1012 ? 2 : 1;
        else if (alive) failures = 0;
        // 1000: the client closed it. Codes from 4000 are an answer of the gateway.
        else if (end.code === 1000 ? clock.now() - since > patienceMs : end.code < 4000) failures++;
        events.close(end);
      },
    };
    return (isSocket ? openSocket : openEvents)(url, transportEvents, use);
  };
  return {
    open,
    reset() {
      failures = 0;
    },
  };
}
