import { StrictMode } from "react";
import { createRoot } from "react-dom/client";
import { type Account, createClient } from "../src/index.ts";
import { RealtimeProvider, useBalance } from "../src/react/index.ts";

const query = new URLSearchParams(location.search);
const account = query.get("account") as Account;
const client = createClient({
  url: query.get("url")!,
  getToken: async () => (await fetch(`/token?sub=${account}&seconds=3600`)).text(),
});

function Balance() {
  const { status, balance } = useBalance(account);
  return <output>{status === "live" ? `${balance?.available} points` : status}</output>;
}

createRoot(document.getElementById("root")!).render(
  <StrictMode>
    <RealtimeProvider client={client}>
      <Balance />
    </RealtimeProvider>
  </StrictMode>,
);
