// The programs of docs/live-balance.md, as they stand on the page but for the ports.

import assert from "node:assert/strict";
import { execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import { readFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { extname, join } from "node:path";
import { after, before, describe, test } from "node:test";
import { fileURLToPath } from "node:url";
import { createServer as createViteServer } from "vite";
import { launchBrowser } from "./browser.js";
import { startDev, timeLimit } from "./dev.js";
import { filesOf } from "./page.js";

const root = fileURLToPath(new URL("../../..", import.meta.url));
const modules = fileURLToPath(new URL("../node_modules", import.meta.url));

let dev;
let browser;
let work;
before(async () => {
  work = mkdtempSync(join(tmpdir(), "live-balance-"));
  dev = await startDev();
  browser = await launchBrowser();
  packClient();
});
after(async () => {
  await browser?.close();
  await dev?.stop();
  rmSync(work, { recursive: true, force: true });
});

/** Installs what `npm pack` makes of the built client, for all folders in work. */
function packClient() {
  const client = join(root, "clients/typescript");
  execFileSync("npm", ["pack", "--silent", "--pack-destination", work], { cwd: client, timeout: timeLimit });
  writeFileSync(join(work, "package.json"), "{}");
  const file = join(work, "redroomrewards-realtime-0.1.0.tgz");
  execFileSync("npm", ["install", "--silent", "--offline", file], { cwd: work, timeout: timeLimit });
}

/** Writes the files of a section into an empty folder, with the addresses of this `core dev`. */
function writeFiles(section, name = section.replace(/\W/g, "-")) {
  const folder = join(work, name);
  mkdirSync(folder);
  for (const [name, text] of Object.entries(filesOf(section))) {
    const here = text
      .replaceAll("http://127.0.0.1:8080", dev.url)
      .replaceAll("ws://127.0.0.1:8081/v1/ws", dev.socket);
    writeFileSync(join(folder, name), here);
  }
  return folder;
}

/** Credits 500 points, and returns those that are available then. */
async function credit() {
  const response = await fetch(`${dev.url}/demo/shop/top-up`, {
    method: "POST",
    headers: { "Idempotency-Key": crypto.randomUUID() },
  });
  assert.equal(response.status, 201);
  const { balances } = await response.json();
  return balances[0].availableBalance;
}

/** Opens a page, waits until it shows the balance before and after a credit, and returns its text. */
async function followsBalance(url) {
  const page = await browser.newPage();
  page.setDefaultTimeout(timeLimit / 2);
  try {
    await page.goto(url);
    await page.getByText(/^\d+ points, 0 held$/).waitFor();
    await page.getByText("live", { exact: true }).waitFor();
    const available = await credit();
    await page.getByText(`${available} points, 0 held`, { exact: true }).waitFor();
    return await page.locator("body").innerText();
  } finally {
    await page.close();
  }
}

/** Serves a folder as any server of static files does. */
async function serveFolder(folder) {
  const types = { ".html": "text/html", ".js": "text/javascript" };
  const server = createServer(async (request, response) => {
    const path = request.url === "/" ? "/index.html" : request.url;
    try {
      const content = await readFile(join(folder, path));
      response.writeHead(200, { "Content-Type": types[extname(path)] ?? "application/octet-stream" });
      response.end(content);
    } catch {
      response.writeHead(404).end();
    }
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  return { url: `http://127.0.0.1:${server.address().port}`, close: () => server.close() };
}

describe("docs/live-balance.md", () => {
  test("React", { timeout: timeLimit }, async () => {
    const folder = writeFiles("React");
    mkdirSync(join(folder, "node_modules"));
    cpSync(join(work, "node_modules/@redroomrewards"), join(folder, "node_modules/@redroomrewards"), { recursive: true });
    for (const name of ["react", "react-dom", "scheduler"]) {
      symlinkSync(join(modules, name), join(folder, "node_modules", name));
    }
    const server = await createViteServer({
      root: folder,
      configFile: false,
      logLevel: "error",
      server: { port: 0, host: "127.0.0.1", fs: { strict: false } },
    });
    try {
      await server.listen();
      const text = await followsBalance(server.resolvedUrls.local[0]);
      assert.match(text, /Last change: available 500, promotional_award/);
    } finally {
      await server.close();
    }
  });

  test("plain JavaScript", { timeout: timeLimit }, async () => {
    const folder = writeFiles("Plain JavaScript");
    cpSync(join(work, "node_modules"), join(folder, "node_modules"), { recursive: true });
    const server = await serveFolder(folder);
    try {
      await followsBalance(server.url);
    } finally {
      server.close();
    }
  });

  test("Go", { timeout: timeLimit }, async () => {
    const folder = writeFiles("Go");
    const go = (...args) => execFileSync("go", args, { cwd: folder, stdio: ["ignore", "ignore", "inherit"] });
    go("mod", "init", "example.com/live-balance");
    go("mod", "edit", "-replace", `github.com/redroomrewards/realtime=${root}`);
    go("mod", "tidy");
    go("build", "-o", "program", ".");
    const program = spawn(join(folder, "program"), { stdio: ["ignore", "pipe", "inherit"] });
    const exit = once(program, "exit");
    try {
      program.stdout.setEncoding("utf8");
      let text = "";
      let wake = () => {};
      program.stdout.on("data", (chunk) => {
        text += chunk;
        wake();
      });
      const shows = async (line) => {
        while (!text.includes(line)) await new Promise((resolve) => (wake = resolve));
      };
      await shows(" points, 0 held\n");
      const available = await credit();
      await shows(`${available} points, 0 held\n`);
    } finally {
      program.kill();
      await exit;
    }
  });
});

describe("errors say what to change", () => {
  /** Serves the plain page with a change. */
  function brokenPage(name, change) {
    const folder = writeFiles("Plain JavaScript", name);
    cpSync(join(work, "node_modules"), join(folder, "node_modules"), { recursive: true });
    const file = join(folder, "index.html");
    writeFileSync(file, change(readFileSync(file, "utf8")));
    return serveFolder(folder);
  }

  /** Requires that the page shows an error, and the console too unless the page handles it. */
  async function showsError(server, url, pattern, isLogged = true) {
    const page = await browser.newPage();
    page.setDefaultTimeout(timeLimit / 2);
    const console = [];
    page.on("console", (message) => console.push(message.text()));
    try {
      await page.goto(url);
      await page.getByText(pattern).first().waitFor();
      if (isLogged) assert.match(console.join("\n"), pattern);
    } finally {
      await page.close();
      server.close();
    }
  }

  test("a wrong URL", { timeout: timeLimit }, async () => {
    const server = await brokenPage("wrong-url", (html) => html.replace("/v1/ws", "/v1/websocket"));
    await showsError(server, server.url, /check that it runs, and that the url ws:\S+ is right, which usually ends in \/v1\/ws/);
  });

  test("a refused origin", { timeout: timeLimit }, async () => {
    const token = await (await fetch(`${dev.url}/demo/token`)).text();
    const getToken = /getToken: .*,/;
    const server = await brokenPage("refused-origin", (html) => html.replace(getToken, `getToken: () => "${token}",`));
    // Chromium resolves every name below localhost to this machine; core dev allows localhost only.
    const url = server.url.replace("127.0.0.1", "app.localhost");
    await showsError(server, url, /--allowed-origins must have http:\/\/app\.localhost/);
  });

  test("a token without the account", { timeout: timeLimit }, async () => {
    const server = await brokenPage("other-account", (html) => html.replace('"user:demo"', '"user:somebody-else"'));
    await showsError(server, server.url, /the token does not cover user:somebody-else; its sub or its accounts must name it/, false);
  });
});
