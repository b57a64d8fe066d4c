import { ActionButton } from "./ActionButton";
import { ItemIcon } from "./Icon";
import { formatPoints } from "./format";
import type { Item, Order } from "./shop";

interface Props {
  orders: Order[];
  menu: Item[];
  onFinish: (order: Order) => Promise<void>;
  onCancel: (order: Order) => Promise<void>;
}

/** The open orders, whose points are held. */
export function Orders({ orders, menu, onFinish, onCancel }: Props) {
  return (
    <section aria-labelledby="orders-title">
      <h2 id="orders-title">In progress</h2>
      {orders.length === 0 && <p className="empty">Buy something: its points are held until it is done.</p>}
      <ul className="list">
        {orders.map((order) => {
          const title = menu.find((item) => item.id === order.item)?.title ?? order.item;
          return (
            <li className="row order" key={order.id}>
              <ItemIcon id={order.item} />
              <div className="grow">
                <p className="title">{title}</p>
                <p className="dim">{formatPoints(order.amount)} points held</p>
              </div>
              <div className="buttons">
                <ActionButton label={`Cancel ${title}`} onAction={() => onCancel(order)}>
                  Cancel
                </ActionButton>
                <ActionButton className="primary" label={`${title} is done`} onAction={() => onFinish(order)}>
                  Done
                </ActionButton>
              </div>
            </li>
          );
        })}
      </ul>
    </section>
  );
}
