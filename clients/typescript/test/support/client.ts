import { createClient, type Client, type ClientOptions, type ConnectionState } from "../../src/index.ts";
import { settleMicrotasks, VirtualClock } from "./clock.ts";
import { TestGateway, welcome, type TestSocket } from "./gateway.ts";

/** A client in virtual time, with what it reported. */
export interface TestClient {
  client: Client;
  clock: VirtualClock;
  gateway: TestGateway;
  states: ConnectionState[];
  reports: Error[];
}

export function startClient(options: Partial<ClientOptions> = {}): TestClient {
  const clock = new VirtualClock();
  const gateway = new TestGateway();
  const reports: Error[] = [];
  const client = createClient({
    url: "wss://gateway.example.com/v1/ws",
    getToken: () => "t1",
    WebSocket: gateway.WebSocket,
    clock,
    report: (error) => reports.push(error as Error),
    ...options,
  });
  const states: ConnectionState[] = [];
  client.on("state", (state) => states.push(state));
  return { client, clock, gateway, states, reports };
}

/** Lets the newest socket authenticate. Returns it. */
export async function goLive({ gateway }: TestClient): Promise<TestSocket> {
  await settleMicrotasks();
  const { socket } = gateway;
  socket.accept();
  socket.push(welcome);
  await settleMicrotasks();
  return socket;
}

/** Waits until something that takes real time has happened, such as the loading of a module. */
export async function waitUntil(isDone: () => boolean): Promise<void> {
  const end = Date.now() + 60_000;
  while (!isDone()) {
    if (Date.now() > end) throw new Error(`did not happen within a minute: ${isDone}`);
    await new Promise((resolve) => setImmediate(resolve));
  }
}
