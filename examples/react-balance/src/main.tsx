import { StrictMode } from "react";
import { createRoot } from "react-dom/client";
import { createClient } from "@redroomrewards/realtime";
import { RealtimeProvider } from "@redroomrewards/realtime/react";
import { App } from "./App";
import { StartFailed } from "./StartFailed";
import { loadShop } from "./shop";
import "./app.css";

const root = createRoot(document.getElementById("root")!);

async function start() {
  try {
    const shop = await loadShop();
    const client = createClient({
      url: shop.socket,
      getToken: async ({ signal }) => (await fetch("/demo/token", { signal })).text(),
    });
    root.render(
      <StrictMode>
        <RealtimeProvider client={client}>
          <App shop={shop} />
        </RealtimeProvider>
      </StrictMode>,
    );
  } catch (error) {
    root.render(<StartFailed error={error} retry={() => void start()} />);
  }
}

void start();
