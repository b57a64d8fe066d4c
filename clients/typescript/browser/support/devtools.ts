import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout } from "node:timers/promises";
import { WebSocket } from "ws";

/**
 * A Chromium that is driven by plain DevTools messages, since Playwright keeps all pages visible and
 * awake, and does not know pages that come back from the browser's cache.
 */
export class PlainChromium {
  private readonly directory = mkdtempSync(join(tmpdir(), "chromium-"));
  private readonly process: ChildProcess;
  private socket!: WebSocket;
  private lastId = 0;
  private readonly answers = new Map<number, (answer: any) => void>();
  /** The names of the events that have arrived. */
  readonly events = new Set<string>();

  constructor(path: string) {
    const flags = ["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--remote-debugging-port=0"];
    this.process = spawn(path, [...flags, "--user-data-dir=" + this.directory, "about:blank"], {
      stdio: ["ignore", "ignore", "pipe"],
    });
  }

  /** Waits until the browser runs. */
  async start(): Promise<void> {
    let output = "";
    const url = await new Promise<string>((resolve, reject) => {
      this.process.stderr!.on("data", (data) => {
        output += data;
        const [, found] = /DevTools listening on (ws:\S+)/.exec(output) ?? [];
        if (found) resolve(found);
      });
      this.process.on("exit", () => reject(new Error("Chromium has ended: " + output)));
    });
    this.socket = new WebSocket(url);
    this.socket.on("message", (data) => {
      const message = JSON.parse(String(data));
      if (message.method) this.events.add(message.method);
      this.answers.get(message.id)?.(message);
      this.answers.delete(message.id);
    });
    await once(this.socket, "open");
  }

  /** Sends a command, to the browser or to a tab. */
  async send(method: string, params: object = {}, sessionId?: string): Promise<any> {
    const id = ++this.lastId;
    this.socket.send(JSON.stringify({ id, method, params, sessionId }));
    const { result, error } = await new Promise<any>((resolve) => this.answers.set(id, resolve));
    if (error) throw new Error(`${method}: ${error.message}`);
    return result;
  }

  /** Opens a tab, which becomes the visible one. */
  async openTab(url: string): Promise<PlainTab> {
    const { targetId } = await this.send("Target.createTarget", { url });
    const { sessionId } = await this.send("Target.attachToTarget", { targetId, flatten: true });
    return new PlainTab(this, targetId, sessionId);
  }

  async stop(): Promise<void> {
    this.socket?.close();
    this.process.removeAllListeners("exit").kill("SIGKILL");
    await once(this.process, "exit");
    await this.removeDirectory();
  }

  /** Removes the directory. The processes of the killed browser may still write to it for a moment. */
  private async removeDirectory(): Promise<void> {
    for (let triesLeft = 300; ; triesLeft--) {
      try {
        return rmSync(this.directory, { recursive: true, force: true });
      } catch (error) {
        if (triesLeft === 0) throw error;
        await setTimeout(100);
      }
    }
  }
}

/** A tab of a PlainChromium. */
export class PlainTab {
  private readonly browser: PlainChromium;
  private readonly targetId: string;
  private readonly sessionId: string;

  constructor(browser: PlainChromium, targetId: string, sessionId: string) {
    this.browser = browser;
    this.targetId = targetId;
    this.sessionId = sessionId;
  }

  send(method: string, params: object = {}): Promise<any> {
    return this.browser.send(method, params, this.sessionId);
  }

  /** Makes this the visible tab. */
  async activate(): Promise<void> {
    await this.browser.send("Target.activateTarget", { targetId: this.targetId });
  }

  /** Returns the value of an expression in the page. */
  async evaluate(expression: string): Promise<any> {
    const { result, exceptionDetails } = await this.send("Runtime.evaluate", {
      expression,
      returnByValue: true,
      awaitPromise: true,
    });
    if (exceptionDetails) throw new Error(exceptionDetails.exception?.description ?? exceptionDetails.text);
    return result.value;
  }
}
