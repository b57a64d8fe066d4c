import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import type { Browser, BrowserContext, Page } from "playwright-core";
import type { Options } from "./page.ts";
import { findChromium, launchChromium } from "./support/chromium.ts";
import { ClientPage } from "./support/clientpage.ts";
import { PlainChromium } from "./support/devtools.ts";
import { Core, Gateway, signToken, until, waitMs } from "./support/programs.ts";
import { Proxy } from "./support/proxy.ts";
import { Site } from "./support/site.ts";

const core = new Core();
const site = new Site();
let browser: Browser;
let plain: PlainChromium;

before(async () => {
  plain = new PlainChromium(findChromium());
  browser = await launchChromium();
  await Promise.all([plain.start(), core.start(), site.start()]);
});

after(async () => {
  await browser?.close();
  await plain?.stop();
  site.stop();
  await core.stop();
});

/** A page of Playwright with a client. */
class Tab extends ClientPage {
  readonly page: Page;
  /** The number of WebSockets that the page has opened. */
  sockets = 0;

  constructor(page: Page) {
    super((expression) => page.evaluate(expression));
    this.page = page;
    page.setDefaultTimeout(waitMs);
    page.on("websocket", () => this.sockets++);
  }

  /** Closes the browser profile of the page. */
  async close(): Promise<void> {
    await this.page.context().close();
  }
}

/** Opens a page with a client, in a browser profile of its own unless there is one. */
async function open(options: Options, context?: BrowserContext): Promise<Tab> {
  const tab = new Tab(await (context ?? (await browser.newContext())).newPage());
  await tab.page.goto(site.url);
  return tab.start(options);
}

/** Requires that the page has each event from its first to its last one once, as the ledger does. */
async function requireExact(page: ClientPage, account: string): Promise<void> {
  const { events, resyncs } = await page.seen();
  const own = events.filter((event) => event.account === account);
  const { seq: first } = own[0]!;
  const { seq: last } = own.at(-1)!;
  const want = await core.eventIds(account, first, last);
  assert.deepEqual(own.map(({ eventId }) => eventId), want, `${account} from ${first} to ${last}`);
  assert.deepEqual(resyncs, []);
}

async function credit(account: string, count: number): Promise<void> {
  for (let i = 0; i < count; i++) await core.credit(account);
}

describe("Chromium", { concurrency: true, timeout: 900_000 }, () => {
  test("without a network, the page shows it, and then gets what it missed", async () => {
    const account = "user:offline";
    await credit(account, 1);
    const page = await open({ url: core.gatewayURL, accounts: [account] });
    await page.waitForBalance(1);
    await credit(account, 1);
    await page.waitForBalance(2);

    await page.page.context().setOffline(true);
    await until("the state shows it", async () => (await page.seen()).states.some(({ code }) => code === "offline"));
    assert.equal((await page.seen()).balance.status, "stale");
    await credit(account, 3);
    await page.page.context().setOffline(false);
    await page.waitForBalance(5);
    await page.waitForEvents(4);
    await requireExact(page, account);
    await page.close();
  });

  test("a page reads from the core with its user's token, and cannot write", async () => {
    const account = "user:reader";
    await credit(account, 2);
    const page = await (await browser.newContext()).newPage();
    await page.goto(site.url);
    const token = signToken({ sub: account, scope: "wallet:credit" });
    const url = `${core.url}/v1/accounts/${account}`;
    const seen = await page.evaluate(async ({ url, token }) => {
      const headers = { Authorization: "Bearer " + token };
      const read = await fetch(url + "/entries", { headers });
      const { entries } = (await read.json()) as { entries: unknown[] };
      const write = fetch(url + "/credits", {
        method: "POST",
        headers: { ...headers, "Content-Type": "application/json", "Idempotency-Key": "page" },
        body: JSON.stringify({ amount: 1, reason: "promotional_award" }),
      });
      const outcome = await write.then(({ status }) => `status ${status}`, ({ name }: Error) => name);
      return { entries: entries.length, hasId: read.headers.has("X-Request-Id"), outcome };
    }, { url, token });
    assert.deepEqual(seen, { entries: 2, hasId: true, outcome: "TypeError" });
    await page.context().close();
  });

  for (const shareTabs of [false, true]) {
    test(`seven tabs have ${shareTabs ? "one connection" : "seven connections"}`, async () => {
      const account = shareTabs ? "user:shared" : "user:alone";
      const connections = () => core.connections(account);
      await credit(account, 1);
      const context = await browser.newContext();
      const options = { url: core.gatewayURL, accounts: [account], shareTabs } as Options;
      const pages: Tab[] = [];
      for (let i = 0; i < 7; i++) pages.push(await open(options, context));
      await Promise.all(pages.map((page) => page.waitForBalance(1)));
      assert.equal((await connections()).length, shareTabs ? 1 : 7);
      await credit(account, 2);
      await Promise.all(pages.map((page) => page.waitForEvents(2)));

      if (shareTabs) {
        assert.deepEqual(pages.map(({ sockets }) => sockets), [1, 0, 0, 0, 0, 0, 0]);
        await pages.shift()!.page.close();
        await credit(account, 2);
        await Promise.all(pages.map((page) => page.waitForBalance(5)));
        await Promise.all(pages.map((page) => page.waitForEvents(4)));
        assert.equal(pages.filter(({ sockets }) => sockets > 0).length, 1);
        await until("there is one connection", async () => (await connections()).length === 1);
      }
      for (const page of pages) await requireExact(page, account);
      await context.close();
    });
  }

  test("a restart of the gateway loses, repeats and reorders nothing", async (t) => {
    const gateway = new Gateway(core);
    t.after(() => gateway.stop());
    await gateway.start();
    const accounts = [1, 2, 3, 4, 5].map((i) => `user:fan-${i}` as const);
    const page = await open({ url: gateway.url, accounts });
    await page.waitForEvents(20);
    for (const signal of ["SIGTERM", "SIGKILL", "SIGTERM"] as const) {
      await gateway.stop(signal);
      const { events } = await page.seen();
      await gateway.start();
      await page.waitForEvents(events.length + 100);
    }
    for (const account of accounts) await requireExact(page, account);
    const { states } = await page.seen();
    assert.ok(states.filter(({ name }) => name === "live").length >= 4);
    await page.close();
  });

  test("behind a proxy that refuses WebSockets, server-sent events stand in", async (t) => {
    const account = "user:fan-1"; // has events all the time
    const proxy = new Proxy(core.gatewayURL);
    t.after(() => proxy.stop());
    await proxy.start();
    proxy.refusesUpgrades = true;
    const page = await open({ url: proxy.url, accounts: [account], seconds: 16 });
    await page.waitForEvents(10);
    await until("there are only event streams", async () => {
      const transports = await core.connections(account);
      return transports.length > 0 && transports.every((transport) => transport === "sse");
    });

    // Each token ends after 16 seconds, and the streams are opened again with the next one.
    const started = site.tokens.get(account)!;
    await until("two tokens are renewed", () => site.tokens.get(account)! >= started + 2);
    const { events, states } = await page.seen();
    await page.waitForEvents(events.length + 20);
    await requireExact(page, account);
    assert.equal(states.filter(({ name }) => name === "live").length, 1);

    // Without the proxy's rule, the next change of the network leads to a WebSocket.
    proxy.refusesUpgrades = false;
    await page.evaluate("dispatchEvent(new Event('online'))");
    await until("there is a WebSocket", async () => (await core.connections(account)).join() === "websocket");
    await page.waitForEvents((await page.seen()).events.length + 20);
    await requireExact(page, account);
    await page.close();
  });

  test("a visible page notices within 15 s that the network is dead", async (t) => {
    const account = "user:halfopen";
    await credit(account, 1);
    const proxy = new Proxy(core.gatewayURL);
    t.after(() => proxy.stop());
    await proxy.start();
    const page = await open({ url: proxy.url, accounts: [account] });
    await page.waitForBalance(1);
    proxy.silence();
    await credit(account, 1);
    const since = await page.evaluate("Date.now()");
    const noticed = await page.waitForLoss(since);
    // 15 s, and much time for a slow machine. A hidden page takes 40 s.
    assert.ok(noticed - since < 30_000, `noticed after ${noticed - since} ms`);
    await page.waitForBalance(2);
    await requireExact(page, account);
    await page.close();
  });

  test("a page in the background gets its events, and after a freeze what it missed", async () => {
    const account = "user:background";
    await credit(account, 1);
    const tab = await plain.openTab(site.url);
    const page = new ClientPage((expression) => tab.evaluate(expression));
    await page.start({ url: core.gatewayURL, accounts: [account] });
    await page.waitForBalance(1);
    await plain.openTab("about:blank");
    await until("the page is hidden", () => page.evaluate("document.hidden"));
    await tab.send("Emulation.setCPUThrottlingRate", { rate: 4 });
    await credit(account, 2);
    await page.waitForBalance(3);

    await tab.send("Page.setWebLifecycleState", { state: "frozen" });
    await until("the connection ends", async () => (await core.connections(account)).length === 0);
    await credit(account, 2);
    await tab.send("Page.setWebLifecycleState", { state: "active" });
    await tab.activate();
    await page.waitForBalance(5);
    await page.waitForEvents(4);
    await requireExact(page, account);
  });

  test("a tab that hangs loses the lead, and the others go on", async () => {
    const account = "user:hangs";
    await credit(account, 1);
    const options = { url: core.gatewayURL, accounts: [account], shareTabs: true } as Options;
    const startTab = async () => {
      const tab = await plain.openTab(site.url);
      const page = await new ClientPage((expression) => tab.evaluate(expression)).start(options);
      return { tab, page };
    };
    const leader = await startTab();
    await leader.page.waitForBalance(1);
    const follower = await startTab();
    await follower.page.waitForBalance(1);
    assert.equal((await core.connections(account)).length, 1);

    await leader.tab.send("Debugger.enable");
    const hanging = leader.page.evaluate("debugger");
    await until("the leader hangs", async () => plain.events.has("Debugger.paused"));
    await follower.page.evaluate("document.dispatchEvent(new Event('visibilitychange'))");
    await credit(account, 2);
    await follower.page.waitForBalance(3);
    const late = await startTab();
    await late.page.waitForBalance(3);

    await leader.tab.send("Debugger.resume");
    await hanging;
    await leader.page.waitForBalance(3);
    await until("there is one connection", async () => (await core.connections(account)).length === 1);
    await credit(account, 1);
    for (const { page } of [leader, follower, late]) {
      await page.waitForBalance(4);
      await requireExact(page, account);
    }
  });

  test("a page that comes back from the cache of the back button continues", async () => {
    const account = "user:bfcache";
    await credit(account, 1);
    const tab = await plain.openTab(site.url);
    const page = new ClientPage((expression) => tab.evaluate(expression));
    await page.start({ url: core.gatewayURL, accounts: [account], shareTabs: true });
    await page.waitForBalance(1);
    await credit(account, 1);
    await page.waitForBalance(2);
    await tab.send("Page.navigate", { url: site.url + "/page?other" });
    await until("the connection ends", async () => (await core.connections(account)).length === 0);
    await credit(account, 2);
    await until("the other page is loaded", () => page.evaluate("location.search === '?other'"));
    await page.evaluate("history.back()");
    await until("the page is back", () => page.evaluate("globalThis.seen?.returns === 1"));
    await page.waitForBalance(4);
    await page.waitForEvents(3);
    await requireExact(page, account);
  });

  test("in StrictMode, React opens one WebSocket and one subscription", async () => {
    const account = "user:strict";
    await credit(account, 1);
    const tab = new Tab(await browser.newPage());
    const { page } = tab;
    await page.goto(`${site.url}/strict?account=${account}&url=${encodeURIComponent(core.gatewayURL)}`);
    await page.getByText("1 points").waitFor();
    await credit(account, 1);
    await page.getByText("2 points").waitFor();
    assert.equal(tab.sockets, 1);
    assert.deepEqual(await core.connections(account), ["websocket"]);
    await tab.close();
  });
});
