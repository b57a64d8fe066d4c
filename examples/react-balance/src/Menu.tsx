import { useBalance } from "@redroomrewards/realtime/react";
import { ActionButton } from "./ActionButton";
import { ItemIcon } from "./Icon";
import { formatPoints } from "./format";
import type { Item, UserAccount } from "./shop";

interface Props {
  menu: Item[];
  account: UserAccount;
  onBuy: (item: Item) => Promise<void>;
}

/** What the user can buy. Items that cost too much are disabled; the shop checks again. */
export function Menu({ menu, account, onBuy }: Props) {
  const { balance } = useBalance(account);
  const available = balance?.available ?? 0;
  return (
    <section aria-labelledby="menu-title">
      <h2 id="menu-title">Menu</h2>
      <ul className="list">
        {menu.map((item) => (
          <li className="row" key={item.id}>
            <ItemIcon id={item.id} />
            <div className="grow">
              <p className="title">{item.title}</p>
              <p className="dim">{formatPoints(item.price)} points</p>
            </div>
            <ActionButton
              className="primary"
              disabled={item.price > available}
              label={`Buy ${item.title} for ${item.price} points`}
              onAction={() => onBuy(item)}
            >
              Buy
            </ActionButton>
          </li>
        ))}
      </ul>
    </section>
  );
}
