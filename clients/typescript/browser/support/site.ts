import { once } from "node:events";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";
import { signToken } from "./programs.ts";

/** Serves the pages of the tests, and tokens. */
export class Site {
  private readonly files = new Map<string, string>();
  private readonly server: Server;
  /** The number of tokens that were given for each subject. */
  readonly tokens = new Map<string, number>();

  constructor() {
    this.server = createServer((request, response) => {
      const { pathname, searchParams } = new URL(request.url!, "http://site");
      if (pathname === "/token") {
        const subject = searchParams.get("sub")!;
        const accounts = searchParams.get("accounts")?.split(",");
        this.tokens.set(subject, (this.tokens.get(subject) ?? 0) + 1);
        response.end(signToken({ sub: subject, accounts }, Number(searchParams.get("seconds"))));
        return;
      }
      const file = this.files.get(pathname);
      if (file !== undefined) {
        response.setHeader("Content-Type", "text/javascript").end(file);
        return;
      }
      const [, name] = pathname.split("/");
      response.setHeader("Content-Type", "text/html");
      response.end(`<!doctype html><title>${name}</title><div id="root"></div>
        <script type="module" src="/${name || "page"}.js"></script>`);
    });
  }

  get url(): string {
    return `http://127.0.0.1:${(this.server.address() as AddressInfo).port}`;
  }

  /** Bundles the pages and starts the server. */
  async start(): Promise<void> {
    const { outputFiles } = await build({
      absWorkingDir: fileURLToPath(new URL("..", import.meta.url)),
      entryPoints: ["page.ts", "strict.tsx"],
      bundle: true,
      splitting: true,
      format: "esm",
      target: "es2022",
      outdir: "/",
      write: false,
      define: { "process.env.NODE_ENV": '"development"' },
    });
    for (const { path, text } of outputFiles) this.files.set(path, text);
    this.server.listen(0, "127.0.0.1");
    await once(this.server, "listening");
  }

  stop(): void {
    this.server.closeAllConnections();
    this.server.close();
  }
}
