import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { createHmac } from "node:crypto";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

const repository = fileURLToPath(new URL("../../../..", import.meta.url));
const secret = "a-secret-for-the-tests-in-chromium-0123456789";

/** How long a test waits for anything, in milliseconds. The machines of tests may be slow. */
export const waitMs = 120_000;

/** Returns a token that is valid for so many seconds. */
export function signToken(claims: object, seconds = 3600): string {
  const encode = (part: object) => Buffer.from(JSON.stringify(part)).toString("base64url");
  const exp = Math.floor(Date.now() / 1000) + seconds;
  const content = encode({ alg: "HS256", typ: "JWT" }) + "." + encode({ ...claims, exp });
  return content + "." + createHmac("sha256", secret).update(content).digest("base64url");
}

const service = () => signToken({ sub: "tests", scope: "wallet:credit wallet:read admin" });

/** Returns a port that nobody listened on a moment ago. */
async function freePort(): Promise<number> {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as { port: number };
  server.close();
  await once(server, "close");
  return port;
}

/** Waits until check returns true. Throws after waitMs. */
export async function until(what: string, check: () => Promise<boolean> | boolean): Promise<void> {
  const end = Date.now() + waitMs;
  while (!(await check())) {
    if (Date.now() > end) throw new Error("waited too long until " + what);
    await new Promise((resolve) => setTimeout(resolve, 200));
  }
}

/** The core, and the gateway that runs in its process. */
export class Core {
  url = "";
  /** The gateway's address, such as ws://127.0.0.1:8081/v1/ws. */
  gatewayURL = "";
  redisURL = "";
  private adminURL = "";
  private output = "";
  private readonly directory = mkdtempSync(join(tmpdir(), "realtime-browser-"));
  private process: ChildProcess | undefined;

  /** Builds the programs and starts `core dev`. */
  async start(): Promise<void> {
    const build = ["build", "-o", this.directory + "/", "./cmd/core", "./cmd/gateway"];
    execFileSync("go", build, { cwd: repository, stdio: "inherit" });
    const free = "127.0.0.1:0";
    const flags = { http: free, gateway: free, admin: free, "gateway-admin": free, redis: free };
    this.process = this.run("core", [
      "dev",
      "--traffic=50",
      "--data=" + join(this.directory, "data"),
      "--jwt-hs256-secret=" + secret,
      ...Object.entries(flags).map(([name, value]) => `--${name}=${value}`),
    ]);
    await until("core dev prints ready", () => /^ready$/m.test(this.output) || this.fail());
    const find = (pattern: RegExp) => pattern.exec(this.output)![1]!;
    this.url = find(/Live page +(http:\S+)\//);
    this.gatewayURL = find(/WebSocket +(ws:\S+)/);
    this.redisURL = find(/Redis +(redis:\S+)/);
    this.adminURL = find(/Admin +http:\S+ +(http:\S+)\/readyz/);
  }

  /** Starts a program that was built. */
  run(name: string, args: string[]): ChildProcess {
    const program = spawn(join(this.directory, name), args, { stdio: ["ignore", "pipe", "pipe"] });
    for (const stream of [program.stdout, program.stderr]) {
      stream.on("data", (data) => {
        if (!/^ready$/m.test(this.output) || name !== "core") this.output += data;
      });
    }
    return program;
  }

  /** Throws if the core has ended. */
  private fail(): boolean {
    if (this.process!.exitCode === null) return false;
    throw new Error("core dev has ended: " + this.output);
  }

  /** Credits the account, which makes one event. */
  async credit(account: string): Promise<void> {
    const response = await fetch(`${this.url}/v1/accounts/${account}/credits`, {
      method: "POST",
      headers: {
        Authorization: "Bearer " + service(),
        "Content-Type": "application/json",
        "Idempotency-Key": crypto.randomUUID(),
      },
      body: JSON.stringify({ amount: 1, reason: "promotional_award" }),
    });
    if (!response.ok) throw new Error(await response.text());
  }

  /** Returns the ids of the account's events with seq from first to last. */
  async eventIds(account: string, first: number, last: number): Promise<string[]> {
    const ids: string[] = [];
    while (ids.length <= last - first) {
      const after = first - 1 + ids.length;
      const response = await fetch(`${this.url}/v1/accounts/${account}/events?after=${after}&limit=1000`, {
        headers: { Authorization: "Bearer " + service() },
      });
      const { events } = (await response.json()) as { events: { event: { eventId: string } }[] };
      if (events.length === 0) break;
      ids.push(...events.map(({ event }) => event.eventId));
    }
    return ids.slice(0, last - first + 1);
  }

  /** Returns the gateway's connections whose token names the account: their transports. */
  async connections(account: string): Promise<string[]> {
    const response = await fetch(`${this.adminURL}/admin/connections?account=${account}`, {
      headers: { Authorization: "Bearer " + service() },
    });
    const { connections } = (await response.json()) as { connections: { transport: string }[] };
    return connections.map(({ transport }) => transport);
  }

  async stop(): Promise<void> {
    await stopProgram(this.process);
    rmSync(this.directory, { recursive: true, force: true });
  }
}

/** A gateway of its own, which a test may restart. */
export class Gateway {
  private readonly core: Core;
  private port = 0;
  private process: ChildProcess | undefined;

  constructor(core: Core) {
    this.core = core;
  }

  get url(): string {
    return `ws://127.0.0.1:${this.port}/v1/ws`;
  }

  async start(): Promise<void> {
    this.port ||= await freePort();
    this.process = this.core.run("gateway", [
      "serve",
      `--http=127.0.0.1:${this.port}`,
      "--admin=127.0.0.1:0",
      "--allowed-origins=127.0.0.1:*",
      "--drain-window=500ms",
      "--redis-url=" + this.core.redisURL,
      "--core-url=" + this.core.url,
      "--core-token=" + signToken({ sub: "gateway", scope: "wallet:read" }),
      "--jwt-hs256-secret=" + secret,
    ]);
    const balance = this.url.replace(/^ws/, "http").replace("/v1/ws", "/v1/accounts/user:demo/balance");
    await until("the gateway answers", async () => {
      const headers = { Authorization: "Bearer " + signToken({ sub: "user:demo" }) };
      return fetch(balance, { headers }).then((response) => response.ok, () => false);
    });
  }

  /** Stops the gateway: in order, or at once as in a crash. */
  async stop(signal: "SIGTERM" | "SIGKILL" = "SIGTERM"): Promise<void> {
    await stopProgram(this.process, signal);
  }
}

async function stopProgram(
  program: ChildProcess | undefined,
  signal: NodeJS.Signals = "SIGTERM",
): Promise<void> {
  if (!program || program.exitCode !== null || program.signalCode !== null) return;
  program.kill(signal);
  await once(program, "exit");
}
