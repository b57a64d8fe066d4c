/** How a connection ended. */
export interface TransportEnd {
  /** A WebSocket close code. 1006: the connection broke, or was never opened. */
  code: number;
  reason: string;
  /** The HTTP status of a refused handshake, where the platform shows it. */
  status?: number | undefined;
  /** The Retry-After of a refused handshake, in milliseconds. */
  retryAfterMs?: number | undefined;
}

/** What a transport tells the client. */
export interface TransportEvents {
  /** The transport accepts frames. */
  open(): void;
  /** One or more frames arrived, separated by line feeds. */
  message(text: string): void;
  /** The transport has ended. Called exactly once. No other call follows. */
  close(end: TransportEnd): void;
}

/** A way to a gateway: a WebSocket, or what behaves like one. */
export interface Transport {
  /** Sends one frame. Allowed from open to close. */
  send(frame: string): void;
  /** Ends the transport. The events get a close unless they have had one. */
  close(code?: number, reason?: string): void;
}

/** What an application may inject where the platform has no globals. */
export interface TransportUse {
  WebSocket?: WebSocketConstructor | undefined;
  fetch?: typeof fetch | undefined;
}

/** Opens a transport. A failure is a close, never an exception. */
export type OpenTransport = (
  url: string,
  events: TransportEvents,
  use: TransportUse,
) => Transport;

/** The part of a WebSocket that the client needs. Those of browsers, Node 22 and `ws` have it. */
export interface WebSocketLike {
  send(data: string): void;
  close(code?: number, reason?: string): void;
  onopen: ((event: any) => void) | null;
  onmessage: ((event: any) => void) | null;
  onerror: ((event: any) => void) | null;
  onclose: ((event: any) => void) | null;
}

export type WebSocketConstructor = new (url: string, protocols?: string | string[]) => WebSocketLike;
