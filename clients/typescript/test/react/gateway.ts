import type { AddressInfo } from "node:net";
import { WebSocketServer } from "ws";
import type { WebSocket } from "ws";
import type { ClientFrame, SubscribeFrame } from "../../src/protocol.ts";

const account = "user:u1";
const time = "2026-11-29T12:00:00.000Z";

/** A gateway with one account, user:u1. It has 1,000 available points and its seq is 1. */
export class Gateway {
  /** All frames of all clients. */
  readonly frames: ClientFrame[] = [];
  connections = 0;

  private readonly server: WebSocketServer;
  private readonly sockets = new Set<WebSocket>();
  private readonly subscriptions = new Map<string, WebSocket>();
  private seq = 1;
  private available = 1000;

  private constructor(server: WebSocketServer) {
    this.server = server;
    server.on("connection", (socket) => this.serve(socket));
  }

  /** Starts a gateway on a free port. */
  static async start(): Promise<Gateway> {
    const server = new WebSocketServer({ port: 0, host: "127.0.0.1" });
    await new Promise((resolve) => server.once("listening", resolve));
    return new Gateway(server);
  }

  get url(): string {
    return `ws://127.0.0.1:${(this.server.address() as AddressInfo).port}/v1/ws`;
  }

  count(op: ClientFrame["op"]): number {
    return this.frames.filter((frame) => frame.op === op).length;
  }

  /** Adds points to the account and sends the event to all subscriptions. */
  credit(points: number): void {
    const before = this.available;
    this.available += points;
    this.seq++;
    for (const [sub, socket] of this.subscriptions) {
      send(socket, {
        op: "event",
        sub,
        account,
        seq: this.seq,
        chain: chainAt(this.seq),
        event: {
          eventId: `event-${this.seq}`,
          eventType: "wallet.balance_updated",
          timestamp: time,
          transactionId: `transaction-${this.seq}`,
          reason: "promotional_award",
          source: "wallet-core",
          version: "1.0",
          accountId: "u1",
          accountType: "user",
          balanceState: "available",
          balanceBefore: before,
          balanceAfter: this.available,
          changeAmount: points,
          ledgerEntryId: `entry-${this.seq}`,
        },
      });
    }
  }

  /** Ends all connections. Clients may connect again. */
  dropConnections(): void {
    for (const socket of this.sockets) socket.terminate();
  }

  async stop(): Promise<void> {
    this.dropConnections();
    await new Promise((resolve) => this.server.close(resolve));
  }

  private serve(socket: WebSocket): void {
    this.connections++;
    this.sockets.add(socket);
    socket.on("close", () => {
      this.sockets.delete(socket);
      for (const [sub, owner] of this.subscriptions) if (owner === socket) this.subscriptions.delete(sub);
    });
    socket.on("message", (message) => {
      for (const line of String(message).split("\n")) this.answer(socket, JSON.parse(line));
    });
  }

  private answer(socket: WebSocket, frame: ClientFrame): void {
    this.frames.push(frame);
    switch (frame.op) {
      case "auth":
        send(socket, {
          op: "welcome",
          connection: "c1",
          gateway: "test",
          heartbeatSeconds: 30,
          expiresAt: "2099-01-01T00:00:00.000Z",
        });
        break;
      case "subscribe":
        this.openSubscription(socket, frame);
        break;
      case "unsubscribe":
        this.subscriptions.delete(frame.sub);
        send(socket, { op: "unsubscribed", sub: frame.sub });
        break;
      case "ping":
        send(socket, { op: "pong" });
    }
  }

  private openSubscription(socket: WebSocket, frame: SubscribeFrame): void {
    if (frame.types?.includes("wallet.escrow_refunded")) {
      send(socket, { op: "error", sub: frame.sub, code: "forbidden", message: "the token does not cover the account" });
      return;
    }
    this.subscriptions.set(frame.sub, socket);
    send(socket, {
      op: "subscribed",
      sub: frame.sub,
      accounts: [
        {
          account,
          seq: this.seq,
          chain: chainAt(this.seq),
          recovered: false,
          snapshot: {
            account,
            accountId: "u1",
            accountType: "user",
            availableBalance: this.available,
            escrowBalance: 0,
            currency: "points",
            seq: this.seq,
            chain: chainAt(this.seq),
            lastUpdated: time,
          },
        },
      ],
    });
  }
}

function chainAt(seq: number): string {
  return seq.toString(16).padStart(16, "0");
}

function send(socket: WebSocket, frame: object): void {
  socket.send(JSON.stringify(frame));
}
