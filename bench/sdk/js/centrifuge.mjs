// centrifuge-js, used as its documentation advises: getToken, a subscription with recovery for each
// channel, and the state from the backend's API at first and when a recovery failed.

import { Centrifuge } from "centrifuge";
import WebSocket from "ws";

// target: {url, core, token, accounts}
function connect({ url, token }) {
  return new Centrifuge(`${url}/connection/websocket`, {
    websocket: WebSocket,
    token,
    getToken: async () => token,
  });
}

async function loadBalance({ core, token }, account) {
  const response = await fetch(`${core}/v1/accounts/${account}/balance`, {
    headers: { authorization: `Bearer ${token}` },
  });
  if (!response.ok) throw new Error(`GET balance of ${account}: ${response.status} ${await response.text()}`);
  return response.json();
}

export function readFirstBalance(target) {
  const [account] = target.accounts;
  const client = connect(target);
  const subscription = client.newSubscription(account);
  const balance = new Promise((resolve, reject) => {
    subscription.on("subscribed", () => loadBalance(target, account).then(() => resolve(() => client.disconnect()), reject));
    subscription.on("error", ({ error }) => reject(new Error(error.message)));
  });
  subscription.subscribe();
  client.connect();
  return balance;
}

export function openClient(target, following, onLive) {
  const client = connect(target);
  client.on("connected", () => onLive(true));
  client.on("connecting", () => onLive(false));
  const balances = new Map();
  const loaded = new Map(); // seq of the loaded balance, by account
  for (const account of target.accounts) {
    const subscription = client.newSubscription(account);
    // The offset of an event is its seq: each event of an account is published once.
    subscription.on("publication", ({ data, offset }) => {
      if (offset <= loaded.get(account)) return; // the loaded balance has it already
      balances.set(account, data);
      following.event(account, offset);
    });
    subscription.on("subscribed", async ({ wasRecovering, recovered }) => {
      if (wasRecovering && recovered) return;
      const balance = await loadBalance(target, account);
      balances.set(account, balance);
      loaded.set(account, balance.seq);
      following.replace(account, balance.seq);
    });
    subscription.subscribe();
  }
  client.connect();
  return () => client.disconnect();
}
