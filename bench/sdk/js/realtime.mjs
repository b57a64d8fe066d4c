// The client of this repository. Its package must be built: npm run build in clients/typescript.

import WebSocket from "ws";
import { createClient, RealtimeError } from "../../../clients/typescript/dist/index.js";

// The client is in a page that is visible, as an application with a balance on the screen is. Only then
// it looks for a dead network more often than the gateway's heartbeat.
globalThis.document = Object.assign(new EventTarget(), { hidden: false });

// target: {url, token, accounts}
function connect({ url, token }) {
  // Without report, the client tells the console why each connection ended.
  const report = (error) => error instanceof RealtimeError || console.error(error);
  return createClient({ url: `${url}/v1/ws`, getToken: () => token, WebSocket, report });
}

// Opens a client and returns, when it has the balance of the first account, a function that closes it.
export function readFirstBalance(target) {
  const client = connect(target);
  const store = client.balance(target.accounts[0]);
  return new Promise((resolve, reject) => {
    store.subscribe(() => {
      const state = store.get();
      if (state.status === "live") resolve(() => client.close());
      if (state.status === "error") reject(state.error);
    });
  });
}

// Opens a client that follows all accounts of the target.
export function openClient(target, following, onLive) {
  const client = connect(target);
  client.on("state", (state) => onLive(state.name === "live"));
  const balances = new Map();
  client.subscribe(
    { accounts: target.accounts },
    {
      event(event, { account, seq }) {
        balances.set(account, event);
        following.event(account, seq);
      },
      resync({ account, seq, balance }) {
        balances.set(account, balance);
        following.replace(account, seq);
      },
    },
  );
  return () => client.close();
}
