import { execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

const root = fileURLToPath(new URL("../../..", import.meta.url));

/** How long things may take on a slow machine, in milliseconds. */
export const timeLimit = 120_000;

/**
 * Builds the core and runs `core dev` on free ports. Returns its URL, without a slash at the end, and
 * the URL of its gateway.
 */
export async function startDev() {
  const directory = mkdtempSync(join(tmpdir(), "react-balance-"));
  const program = join(directory, "core");
  execFileSync("go", ["build", "-o", program, "./cmd/core"], { cwd: root, stdio: "inherit" });
  const flags = ["--http", "--gateway", "--admin", "--gateway-admin", "--redis"];
  const dev = spawn(
    program,
    ["dev", "--data", join(directory, "data"), ...flags.flatMap((flag) => [flag, "127.0.0.1:0"])],
    { stdio: ["ignore", "pipe", "inherit"] },
  );
  const exit = once(dev, "exit");
  const output = await readUntil(dev.stdout, /^ready$/m);
  dev.stdout.resume();
  const [, url] = /Live page +(http\S+)\//.exec(output);
  const [, socket] = /WebSocket +(ws\S+)/.exec(output);
  return {
    url,
    socket,
    async stop() {
      dev.kill("SIGINT");
      await exit;
      rmSync(directory, { recursive: true, force: true });
    },
  };
}

async function readUntil(stream, pattern) {
  let text = "";
  stream.setEncoding("utf8");
  return new Promise((resolve, reject) => {
    const onData = (chunk) => {
      text += chunk;
      if (!pattern.test(text)) return;
      stream.off("data", onData);
      resolve(text);
    };
    stream.on("data", onData);
    stream.once("end", () => reject(new Error(`core dev ended: ${text}`)));
  });
}
