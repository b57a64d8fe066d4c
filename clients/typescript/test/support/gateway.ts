import type { ClientFrame, ServerFrame } from "../../src/protocol.ts";
import type { WebSocketConstructor, WebSocketLike } from "../../src/transport.ts";

/** A socket whose other end is the test. */
export class TestSocket implements WebSocketLike {
  onopen: ((event: unknown) => void) | null = null;
  onmessage: ((event: unknown) => void) | null = null;
  onerror: ((event: unknown) => void) | null = null;
  onclose: ((event: unknown) => void) | null = null;
  readonly url: string;
  readonly protocol: string;
  /** The frames that the client has sent and that take has not returned. */
  received: ClientFrame[] = [];
  isClosed = false;

  constructor(url: string, protocol: string) {
    this.url = url;
    this.protocol = protocol;
  }

  send(data: string): void {
    if (this.isClosed) throw new Error("the socket is closed");
    for (const line of data.split("\n")) this.received.push(JSON.parse(line));
  }

  close(): void {
    this.isClosed = true;
  }

  /** Returns the frames that the client has sent since the last call. */
  take(): ClientFrame[] {
    const frames = this.received;
    this.received = [];
    return frames;
  }

  /** Accepts the handshake. */
  accept(): void {
    this.onopen?.({});
  }

  /** Sends frames in one message. */
  push(...frames: (ServerFrame | object)[]): void {
    if (this.isClosed) return;
    this.onmessage?.({ data: frames.map((frame) => JSON.stringify(frame)).join("\n") });
  }

  /** Closes the connection from the gateway's side. */
  end(code: number, reason = ""): void {
    if (this.isClosed) return;
    this.isClosed = true;
    this.onclose?.({ code, reason });
  }
}

/** The gateway's side of a test: all sockets that the client has opened. */
export class TestGateway {
  readonly sockets: TestSocket[] = [];
  readonly WebSocket: WebSocketConstructor;

  constructor() {
    const { sockets } = this;
    this.WebSocket = class extends TestSocket {
      constructor(url: string, protocols?: string | string[]) {
        super(url, String(protocols));
        sockets.push(this);
      }
    };
  }

  /** The newest socket. */
  get socket(): TestSocket {
    const socket = this.sockets.at(-1);
    if (!socket) throw new Error("the client has opened no socket");
    return socket;
  }
}

export const welcome: ServerFrame = {
  op: "welcome",
  connection: "c1",
  gateway: "gw-1",
  heartbeatSeconds: 25,
  expiresAt: "2026-01-01T01:00:00.000Z",
};

/** Returns the chain of these tests at seq, in a history with this name. */
export function chainAt(seq: number, history = 0): string {
  return (history * 1_000_000 + seq).toString(16).padStart(16, "0");
}

export function userSnapshot(seq: number, history = 0, account: `user:${string}` = "user:u1") {
  return {
    account,
    accountId: account.slice(5),
    accountType: "user" as const,
    availableBalance: 1000 + seq,
    escrowBalance: history,
    currency: "points" as const,
    seq,
    chain: chainAt(seq, history),
    lastUpdated: "2026-01-01T00:00:00.000Z",
  };
}

/** Returns the frame of an event. The balance after it is 1000 + seq, and the history in escrow. */
export function eventFrame(sub: string, seq: number, history = 0, account: `user:${string}` = "user:u1"): ServerFrame {
  return {
    op: "event",
    sub,
    account,
    seq,
    chain: chainAt(seq, history),
    event: {
      eventId: `00000000-0000-4000-8000-${String(seq).padStart(12, "0")}`,
      eventType: "wallet.escrow_held",
      timestamp: "2026-01-01T00:00:00.000Z",
      transactionId: "00000000-0000-4000-9000-000000000000",
      reason: "chip_menu_purchase",
      source: "wallet-core",
      version: "1.0",
      userId: account.slice(5),
      escrowId: "00000000-0000-4000-a000-000000000000",
      amount: 1,
      queueItemId: "q1",
      featureType: "wheel",
      userAvailableBalance: 1000 + seq,
      userEscrowBalance: history,
    },
  };
}

export function subscribed(sub: string, seq: number, account: `user:${string}` = "user:u1"): ServerFrame {
  return {
    op: "subscribed",
    sub,
    accounts: [
      { account, seq, chain: chainAt(seq), recovered: false, snapshot: userSnapshot(seq, 0, account) },
    ],
  };
}

export function recovered(sub: string, seq: number, account: `user:${string}` = "user:u1"): ServerFrame {
  return { op: "subscribed", sub, accounts: [{ account, seq, chain: chainAt(seq), recovered: true }] };
}
