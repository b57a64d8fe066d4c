import { once } from "node:events";
import { connect, createServer, type Server, type Socket } from "node:net";

/** A proxy between the browser and the gateway, which can break connections. */
export class Proxy {
  /** Answers 403 to requests for a WebSocket. */
  refusesUpgrades = false;
  private readonly target: URL;
  private readonly server: Server;
  private readonly sockets = new Set<Socket>();

  /** gatewayURL is the gateway's address, such as ws://127.0.0.1:8081/v1/ws. */
  constructor(gatewayURL: string) {
    this.target = new URL(gatewayURL);
    this.server = createServer((client) => this.serve(client));
  }

  async start(): Promise<void> {
    this.server.listen(0, "127.0.0.1");
    await once(this.server, "listening");
  }

  get url(): string {
    const { port } = this.server.address() as { port: number };
    return `ws://127.0.0.1:${port}/v1/ws`;
  }

  /** Loses all bytes of the connections that are open, without closing them. */
  silence(): void {
    for (const socket of this.sockets) socket.pause().unpipe();
  }

  stop(): void {
    for (const socket of this.sockets) socket.destroy();
    this.server.close();
  }

  private serve(client: Socket): void {
    this.watch(client);
    client.once("data", (head) => {
      if (this.refusesUpgrades && /^upgrade: websocket/im.test(head.toString("latin1"))) {
        client.end("HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
        return;
      }
      const gateway = connect(Number(this.target.port), this.target.hostname);
      this.watch(gateway);
      gateway.write(head);
      client.pipe(gateway).pipe(client);
      client.on("close", () => gateway.destroy());
      gateway.on("close", () => client.destroy());
    });
  }

  private watch(socket: Socket): void {
    this.sockets.add(socket);
    socket.on("error", () => {}); // the close follows
    socket.on("close", () => this.sockets.delete(socket));
  }
}
