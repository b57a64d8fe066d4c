import type { OpenTransport, WebSocketConstructor } from "./transport.ts";

/** The WebSocket subprotocol of the gateway. */
const SUBPROTOCOL = "wallet.v1";

/** The code of a connection that ended without a close frame. */
export const ABNORMAL = 1006;

/** Opens a WebSocket, the injected or the global one. */
export const openWebSocket: OpenTransport = (url, events, use) => {
  const Socket = use.WebSocket ?? (globalThis.WebSocket as WebSocketConstructor | undefined);
  let socket: InstanceType<WebSocketConstructor> & NodeSocket;
  let status: number | undefined;
  let retryAfterMs: number | undefined;
  let failure = "";
  let ended = false;

  const end = (code: number, reason: string) => {
    if (ended) return;
    ended = true;
    events.close({ code, reason, status, retryAfterMs });
  };

  try {
    if (!Socket) throw new Error("this platform has no WebSocket; pass one to createClient");
    socket = new Socket(url, SUBPROTOCOL);
  } catch (error) {
    failure = String((error as Error).message);
    queueMicrotask(() => end(ABNORMAL, failure));
    return { send() {}, close() {} };
  }

  socket.onopen = () => ended || events.open();
  socket.onmessage = (event) => ended || events.message(String(event.data));
  socket.onerror = (event) => {
    failure = event?.message ?? "";
  };
  socket.onclose = (event) => end(event?.code ?? ABNORMAL, event?.reason || failure);
  // The `ws` package shows the HTTP answer of a refused handshake. Browsers do not.
  socket.on?.("unexpected-response", (request, response) => {
    status = response.statusCode;
    retryAfterMs = Number(response.headers["retry-after"]) * 1000 || undefined;
    request.destroy();
    end(ABNORMAL, `HTTP status ${status}`);
  });

  return {
    send: (frame) => ended || socket.send(frame),
    close(code = 1000, reason = "") {
      try {
        socket.close(code, reason);
      } catch {
        // The socket has ended already.
      }
      end(code, reason);
    },
  };
};

/** What the sockets of the `ws` package have besides. */
interface NodeSocket {
  on?(
    name: "unexpected-response",
    listener: (
      request: { destroy(): void },
      response: { statusCode: number; headers: { "retry-after"?: string } },
    ) => void,
  ): void;
}
