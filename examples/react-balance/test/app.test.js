// The app in Chromium, as `core dev` serves it. With PICTURES=DIRECTORY, the pictures stay there.

import assert from "node:assert/strict";
import { createRequire } from "node:module";
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { launchBrowser, screens } from "./browser.js";
import { startDev, timeLimit } from "./dev.js";

const axe = createRequire(import.meta.url).resolve("axe-core/axe.min.js");

let dev;
let browser;
before(async () => {
  dev = await startDev();
  browser = await launchBrowser();
});
after(async () => {
  await browser?.close();
  await dev?.stop();
});

/** Runs a test on a page of its own. Exceptions and messages of the browser fail it. */
function testPage(name, options, run) {
  test(name, { timeout: timeLimit }, async () => {
    // The page's policy forbids the scripts of the test.
    const context = await browser.newContext({ locale: "en-GB", reducedMotion: "reduce", bypassCSP: true, ...options });
    const complaints = [];
    try {
      const page = await context.newPage();
      page.setDefaultTimeout(timeLimit / 2);
      page.on("pageerror", (error) => complaints.push(String(error)));
      page.on("console", (message) => {
        if (["error", "warning"].includes(message.type())) complaints.push(message.text());
      });
      const sent = [];
      let sockets = 0;
      page.on("websocket", (socket) => {
        sockets++;
        socket.on("framesent", ({ payload }) => sent.push(...String(payload).split("\n").map((line) => JSON.parse(line))));
      });
      await cancelOrders();
      await page.goto(`${dev.url}/demo/`);
      await page.getByText("Live", { exact: true }).waitFor();
      await page.locator('[aria-busy="false"]').first().waitFor(); // the balance has arrived
      await run(page, { context, complaints, sent, countSockets: () => sockets });
      assert.deepEqual(complaints, []);
    } finally {
      await context.close();
    }
  });
}

/** Cancels what a failed test left. */
async function cancelOrders() {
  const { orders } = await (await fetch(`${dev.url}/demo/shop`)).json();
  for (const { id } of orders) {
    const key = `test-${id}`;
    await fetch(`${dev.url}/demo/shop/orders/${id}/cancel`, { method: "POST", headers: { "Idempotency-Key": key } });
  }
}

const buy = (page, title) => page.getByRole("button", { name: new RegExp(`^Buy ${title}`) });
const order = (page, title) => page.locator(".order").filter({ hasText: title });
const toast = (page, text) => page.getByRole("log").getByText(text, { exact: true });
const held = (page) => page.locator(".details dd").first();

async function showsHeld(page, points) {
  await held(page).getByText(points, { exact: true }).waitFor();
}

async function checkAccessibility(page) {
  await page.addScriptTag({ path: axe });
  const violations = await page.evaluate(async () => {
    const results = await window.axe.run(document, { resultTypes: ["violations"] });
    return results.violations.map(({ id, help, nodes }) => ({ id, help, nodes: nodes.map(({ html }) => html) }));
  });
  assert.deepEqual(violations, []);
}

async function checkWidth(page) {
  const [content, width] = await page.evaluate(() => [document.documentElement.scrollWidth, window.innerWidth]);
  assert.ok(content <= width, `the page must not be wider than the screen (${width}), is ${content}`);
}

/** Takes a picture, which must have the size of the screen and show something. */
async function takePicture(page, name) {
  const directory = process.env.PICTURES;
  if (directory) mkdirSync(directory, { recursive: true });
  const picture = await page.screenshot(directory ? { path: join(directory, `${name}.png`) } : {});
  assert.equal(picture.toString("latin1", 1, 4), "PNG");
  assert.ok(picture.length > 20_000, `the picture of ${name} must show the page, has ${picture.length} bytes`);
}

for (const [name, options] of Object.entries(screens)) {
  testPage(`looks right: ${name}`, options, async (page) => {
    await buy(page, "Shout-out").click();
    await toast(page, "100 points held").waitFor();
    await order(page, "Shout-out").waitFor();
    await checkAccessibility(page);
    await checkWidth(page);
    await takePicture(page, name.replace(/\W+/g, "-"));
    await order(page, "Shout-out").getByRole("button", { name: "Cancel" }).click();
    await toast(page, "100 points are back").waitFor();
    await showsHeld(page, "0");
  });
}

testPage("an order holds points and spends them", {}, async (page) => {
  const amount = page.locator(".amount .number");
  const before = Number((await amount.textContent()).replace(",", ""));
  await buy(page, "Play my song").click();
  await showsHeld(page, "50");
  await page.reload();
  await showsHeld(page, "50");
  await order(page, "Play my song").getByRole("button", { name: "is done" }).click();
  await toast(page, "50 points spent").waitFor();
  await showsHeld(page, "0");
  await page.getByRole("button", { name: "Add 500 points" }).click();
  await toast(page, "500 points added").waitFor();
  assert.equal(await amount.textContent(), (before + 450).toLocaleString("en"));
});

testPage("works with the keyboard alone", {}, async (page) => {
  await buy(page, "Spin the wheel").focus();
  await page.keyboard.press("Enter");
  await showsHeld(page, "150");
  await order(page, "Spin the wheel").getByRole("button", { name: "Cancel" }).focus();
  await page.keyboard.press("Space");
  await showsHeld(page, "0");
  await toast(page, "150 points are back").waitFor();
});

testPage("StrictMode opens one socket and each subscription once", {}, async (page, { sent, countSockets }) => {
  await buy(page, "Shout-out").click();
  await showsHeld(page, "100");
  await order(page, "Shout-out").getByRole("button", { name: "Cancel" }).click();
  await showsHeld(page, "0");
  assert.equal(countSockets(), 1);
  const subscribed = sent.filter(({ op }) => op === "subscribe");
  assert.equal(subscribed.length, 3, JSON.stringify(subscribed)); // one balance, two filters of toasts
  assert.equal(sent.filter(({ op }) => op === "unsubscribe").length, 0);
});

testPage("says that the shop does not answer", {}, async (page, { context, complaints }) => {
  await context.route("**/demo/shop/**", (route) => route.abort());
  await page.getByRole("button", { name: "Add 500 points" }).click();
  await toast(page, "The shop does not answer. Check your connection and try again.").waitFor();
  assert.match(complaints.splice(0).join(), /^Failed to load resource[^,]*$/);
});

testPage("the live page says that the ledger does not answer, and keeps the escrow", {}, async (page, { context, complaints }) => {
  await page.goto(`${dev.url}/`);
  await page.getByRole("button", { name: "Hold 100" }).click();
  const refund = page.getByRole("button", { name: "Refund", exact: true });
  await refund.and(page.locator(":enabled")).waitFor();

  const calls = "**/v1/escrows/**";
  await context.route(calls, (route) => route.abort());
  await refund.click();
  await page.getByText("The ledger does not answer.").waitFor();
  assert.match(complaints.splice(0).join(), /^Failed to load resource[^,]*$/);

  await context.unroute(calls);
  await refund.click();
  await refund.and(page.locator(":disabled")).waitFor();
});

testPage("says when it is offline, and that it is back", screens["phone, light"], async (page, { context, complaints }) => {
  await context.setOffline(true);
  await page.getByText("You are offline.").waitFor();
  await page.getByText("Reconnecting").waitFor();
  await checkAccessibility(page);
  await checkWidth(page);
  await takePicture(page, "offline");
  await context.setOffline(false);
  await page.getByText("Live", { exact: true }).waitFor();
  await page.getByText("You are offline.").waitFor({ state: "detached" });
  complaints.length = 0; // Chromium logs the requests that failed
});
