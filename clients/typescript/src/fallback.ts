import type { Clock } from "./clock.ts";
import type { OpenTransport, Transport, TransportEnd } from "./transport.ts";

/** After this time on server-sent events, a WebSocket is tried again, in milliseconds. */
const tryBackMs = 5 * 60_000;

/** The frame after which a client connects again almost at once. */
export const reconnectNow = '{"op":"reconnect","afterMs":20,"reason":"drain"}';

/** Opens WebSockets, or server-sent events where those fail. */
export interface Fallback {
  open: OpenTransport;
  /** Tries a WebSocket again now, for example because the network changed. */
  tryBack(): void;
}

/**
 * Returns what opens a WebSocket, and server-sent events after two WebSockets in a row have ended
 * without a frame. While the events flow, it tries a WebSocket every five minutes. When one opens,
 * the events end with the close code 1012, and the client connects again by a WebSocket.
 */
export function fallBack(
  openSocket: OpenTransport,
  openEvents: OpenTransport,
  clock: Clock,
): Fallback {
  let failures = 0; // of WebSockets in a row
  const forget = () => {
    failures = 0;
  };
  let tryBack = forget;

  const open: OpenTransport = (url, events, use) => {
    const isSocket = failures < 2;
    let alive = false; // a frame has arrived
    let ended = false;
    let attempt: Transport | undefined;
    let timer: unknown;

    const transport = (isSocket ? openSocket : openEvents)(
      url,
      {
        open: () => events.open(),
        message(text) {
          if (!alive) start();
          events.message(text);
        },
        close(end) {
          stop(end);
          events.close(end);
        },
      },
      use,
    );

    const start = () => {
      alive = true;
      if (isSocket) return forget();
      timer = clock.setTimeout(trySocket, tryBackMs);
      tryBack = trySocket;
    };

    const trySocket = () => {
      clock.clearTimeout(timer);
      attempt ??= openSocket(url, { open: moveBack, message() {}, close: tryLater }, use);
    };

    const moveBack = () => {
      forget();
      events.message(reconnectNow);
      transport.close(1012, "a WebSocket can be opened again");
    };

    const tryLater = () => {
      attempt = undefined;
      if (!ended) timer = clock.setTimeout(trySocket, tryBackMs);
    };

    const stop = (end: TransportEnd) => {
      ended = true;
      clock.clearTimeout(timer);
      attempt?.close();
      if (tryBack === trySocket) tryBack = forget;
      if (alive) return;
      // Codes from 4000 are an answer of the gateway, so the WebSocket works.
      if (!isSocket) failures = 1;
      else if (end.code < 4000) failures++;
    };

    return transport;
  };
  return { open, tryBack: () => tryBack() };
}
