import assert from "node:assert/strict";
import { test } from "node:test";
import { createElement, version } from "react";
import { renderToString } from "react-dom/server";
import type { EventFilter, UserBalance, WalletEvent } from "../../src/index.ts";
import { useBalance, useConnectionState, useEvents } from "../../src/react/index.ts";
import type { EventHandler } from "../../src/react/index.ts";
import { Page, until } from "./page.ts";

const account = "user:u1";

const initial: UserBalance = {
  account,
  seq: 1,
  chain: "0000000000000001",
  available: 700,
  escrow: 0,
  updatedAt: "2026-11-29T11:00:00.000Z",
};

/** What Balance has rendered, since some states are too short to be polled. */
let rendered: string[] = [];

function Balance(props: { initial?: UserBalance }) {
  const { balance, status } = useBalance(account, props);
  const text = `${status} ${balance?.available ?? "unknown"} `;
  rendered.push(text);
  return createElement("b", null, text);
}

function Connection() {
  return createElement("i", null, `connection ${useConnectionState().name} `);
}

function Events({ filter, handler }: { filter: EventFilter; handler: EventHandler }) {
  useEvents(filter, handler);
  return null;
}

const balanceFilter = (): EventFilter => ({ types: ["wallet.balance_updated"], minAmount: 1 });

/** Runs a test with a page of its own. */
function testPage(name: string, run: (page: Page) => Promise<void>): void {
  test(`React ${version}: ${name}`, async () => {
    const page = await Page.open();
    try {
      await run(page);
    } finally {
      await page.close();
    }
  });
}

testPage("StrictMode opens one socket and one subscription of each kind", async (page) => {
  page.render([
    createElement(Balance, { key: 1 }),
    createElement(Balance, { key: 2 }),
    createElement(Events, { key: 3, filter: balanceFilter(), handler: () => {} }),
  ]);
  await until(() => page.text === "live 1000 live 1000 ");
  await until(() => page.gateway.count("subscribe") >= 2);
  page.gateway.credit(1); // follows whatever else the client would send
  await until(() => page.text === "live 1001 live 1001 ");
  assert.equal(page.gateway.connections, 1);
  assert.equal(page.gateway.count("subscribe"), 2);
  assert.equal(page.gateway.count("unsubscribe"), 0);
});

testPage("a balance is loading, live, stale and live again", async (page) => {
  rendered = [];
  page.render([createElement(Balance, { key: 1 }), createElement(Connection, { key: 2 })]);
  await until(() => page.text === "live 1000 connection live ");
  assert.equal(rendered[0], "loading unknown ");
  page.gateway.dropConnections();
  await until(() => rendered.includes("stale 1000 "));
  await until(() => page.text === "live 1000 connection live ");
});

testPage("a component that is mounted again continues its subscriptions", async (page) => {
  const events: WalletEvent[] = [];
  const content = (key: string) => [
    createElement(Balance, { key }),
    createElement(Events, { key: `${key} events`, filter: balanceFilter(), handler: (event: WalletEvent) => events.push(event) }),
  ];
  page.render(content("first"));
  await until(() => page.text === "live 1000 ");
  page.render(content("second"));
  page.gateway.credit(5);
  await until(() => page.text === "live 1005 " && events.length === 1);
  assert.equal(page.gateway.count("subscribe"), 2);
  assert.equal(page.gateway.count("unsubscribe"), 0);

  page.render(null);
  await until(() => page.gateway.count("unsubscribe") === 2);
  page.render(content("third"));
  await until(() => page.text === "live 1005 ");
  await until(() => page.gateway.count("subscribe") === 4);
});

testPage("filters are compared by value, and the newest handler is called", async (page) => {
  const seen: string[] = [];
  const render = (name: string) =>
    page.render(createElement(Events, { filter: balanceFilter(), handler: () => seen.push(name) }));
  render("first");
  await until(() => page.gateway.count("subscribe") === 1);
  page.gateway.credit(1);
  await until(() => seen.length === 1);
  render("second");
  await until(() => {
    page.gateway.credit(1);
    return seen.includes("second");
  });
  assert.equal(page.gateway.count("subscribe"), 1);

  page.render(createElement(Events, { filter: { minAmount: 7 }, handler: () => {} }));
  await until(() => page.gateway.count("subscribe") === 2);
});

testPage("components with equal filters share a subscription", async (page) => {
  const seen: string[] = [];
  const fails = () => {
    seen.push("fails");
    throw new Error("a handler failed");
  };
  page.render([
    createElement(Events, { key: 1, filter: { minAmount: 1, types: ["wallet.balance_updated"] }, handler: fails }),
    createElement(Events, { key: 2, filter: balanceFilter(), handler: { event: () => seen.push("works") } }),
  ]);
  await until(() => page.gateway.count("subscribe") === 1);
  page.gateway.credit(1);
  await until(() => seen.length === 2);
  page.gateway.credit(1);
  await until(() => seen.length === 4);
  assert.deepEqual(seen, ["fails", "works", "fails", "works"]);
  assert.equal(page.gateway.count("subscribe"), 1);
  assert.deepEqual(page.reports.map(String), ["Error: a handler failed", "Error: a handler failed"]);
});

testPage("a refusal reaches components that come later, too", async (page) => {
  const codes: string[] = [];
  const filter = (): EventFilter => ({ types: ["wallet.escrow_refunded"] });
  const handler: EventHandler = { event: () => {}, error: (error) => codes.push(error.code) };
  page.render(createElement(Events, { key: 1, filter: filter(), handler }));
  await until(() => codes.length > 0);
  const before = codes.length;
  page.render([1, 2].map((key) => createElement(Events, { key, filter: filter(), handler })));
  await until(() => codes.length > before);
  assert.deepEqual(new Set(codes), new Set(["forbidden"]));
});

testPage("the server renders the initial balance and opens nothing", async (page) => {
  const content = [
    createElement(Balance, { key: 1 }),
    createElement(Balance, { key: 2, initial }),
    createElement(Connection, { key: 3 }),
    createElement(Events, { key: 4, filter: {}, handler: () => {} }),
  ];
  const html = renderToString(page.wrap(content));
  const text = html.replace(/<[^>]*>/g, "");
  assert.equal(text, "loading unknown stale 700 connection idle ");
  assert.equal(page.client.state.name, "idle");
  assert.equal(page.gateway.connections, 0);
});

testPage("the browser continues with what the server rendered", async (page) => {
  const complaints: string[] = [];
  const consoleError = console.error;
  console.error = (...words) => complaints.push(words.join(" "));
  try {
    const content = createElement(Balance, { initial });
    const html = renderToString(page.wrap(content));
    const texts: string[] = [];
    page.hydrate(html, content);
    await until(() => {
      texts.push(page.text);
      return page.text === "live 1000 ";
    });
    assert.deepEqual([...new Set(texts)], ["stale 700 ", "live 1000 "]);
    assert.deepEqual(complaints, []);
  } finally {
    console.error = consoleError;
  }
});

testPage("a hook outside of the provider says what to do", async () => {
  assert.throws(() => renderToString(createElement(Connection)), /must be used inside of <RealtimeProvider client/);
});
