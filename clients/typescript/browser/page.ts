import { type Account, createClient } from "../src/index.ts";

/** What a test asks of the page. */
export interface Options {
  url: string;
  accounts: Account[];
  /** How long a token is valid, in seconds. */
  seconds?: number;
  shareTabs?: boolean;
}

/** What the page has seen. */
export interface Seen {
  states: { name: string; code?: string | undefined; at: number }[];
  events: { account: string; seq: number; eventId: string }[];
  resyncs: unknown[];
  balance(): { status: string; available?: number; seq?: number };
  /** How often the page came back from the browser's cache. */
  returns: number;
}

const seen: Seen = {
  states: [],
  events: [],
  resyncs: [],
  balance: () => ({ status: "loading" }),
  returns: 0,
};

addEventListener("pageshow", ({ persisted }) => {
  if (persisted) seen.returns++;
});

/** Subscribes to the accounts, and reads the balance of the first one. */
function start({ url, accounts, seconds = 3600, shareTabs = false }: Options): void {
  const subject = accounts[0]!;
  const query = new URLSearchParams({ sub: subject, accounts: accounts.join(), seconds: String(seconds) });
  const client = createClient({
    url,
    shareTabs,
    getToken: async ({ signal }) => (await fetch("/token?" + query, { signal })).text(),
  });
  client.on("state", (state) => {
    const code = "error" in state ? state.error?.code : undefined;
    seen.states.push({ name: state.name, code, at: Date.now() });
  });
  client.subscribe(
    { accounts },
    {
      event: ({ eventId }, { account, seq }) => seen.events.push({ account, seq, eventId }),
      resync: (state) => seen.resyncs.push(state),
    },
  );
  const store = client.balance(subject);
  store.subscribe(() => {});
  seen.balance = () => {
    const { status, balance } = store.get();
    return { status, ...(balance && { seq: balance.seq, available: balance.available! }) };
  };
}

Object.assign(globalThis, { seen, start });
