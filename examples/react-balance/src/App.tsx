import { useState } from "react";
import { BalanceCard } from "./BalanceCard";
import { ConnectionPill, OfflineBanner } from "./Connection";
import { Logo } from "./Icon";
import { Menu } from "./Menu";
import { Orders } from "./Orders";
import { ToastList } from "./Toasts";
import { useWalletToasts } from "./useWalletToasts";
import { useToasts } from "./useToasts";
import { cancelOrder, finishOrder, placeOrder, topUp, Refusal } from "./shop";
import type { Item, Order, Shop } from "./shop";

export function App({ shop }: { shop: Shop }) {
  const [orders, setOrders] = useState(shop.orders);
  const { toasts, addToast, removeToast } = useToasts();
  useWalletToasts(shop.menu, addToast);

  /** Runs an action of the user and shows its refusal. */
  async function attempt(action: () => Promise<void>) {
    try {
      await action();
    } catch (error) {
      if (!(error instanceof Refusal)) throw error;
      addToast({ kind: "refusal", title: error.message });
    }
  }

  const buy = (item: Item) =>
    attempt(async () => {
      const order = await placeOrder(item);
      setOrders((all) => [...all, order]);
    });

  const close = (order: Order, call: (order: Order) => Promise<void>) =>
    attempt(async () => {
      await call(order);
      setOrders((all) => all.filter((other) => other.id !== order.id));
    });

  return (
    <>
      <OfflineBanner account={shop.account} />
      <header className="top">
        <div className="brand">
          <Logo />
          <span>Red Room</span>
        </div>
        <ConnectionPill />
      </header>
      <main className="columns">
        <h1 className="visually-hidden">Your points</h1>
        <div className="column">
          <BalanceCard account={shop.account} onTopUp={() => attempt(topUp)} />
          <Orders
            orders={orders}
            menu={shop.menu}
            onFinish={(order) => close(order, finishOrder)}
            onCancel={(order) => close(order, cancelOrder)}
          />
        </div>
        <div className="column">
          <Menu menu={shop.menu} account={shop.account} onBuy={buy} />
          <p className="hint">
            Open this page in a second window, or <a href="/">the live page</a>: both show each
            change at once.
          </p>
        </div>
      </main>
      <ToastList toasts={toasts} onClose={removeToast} />
    </>
  );
}
