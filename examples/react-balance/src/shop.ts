// The app's own back end. It checks what may be bought and moves the points; its answers hold no
// balance. Balances come from the client of @redroomrewards/realtime.

export type UserAccount = `user:${string}`;

export interface Item {
  id: string;
  title: string;
  /** In points. */
  price: number;
}

/** An item that the user has bought and not got yet. Its price is held. */
export interface Order {
  id: string;
  item: string;
  /** In points. */
  amount: number;
}

export interface Shop {
  /** The URL of the gateway. */
  socket: string;
  account: UserAccount;
  menu: Item[];
  orders: Order[];
}

/** The shop's answer to a request that it refused, in words for the user. */
export class Refusal extends Error {}

export async function loadShop(): Promise<Shop> {
  const response = await fetch("/demo/shop");
  if (!response.ok) throw new Error(`GET /demo/shop: ${response.status}`);
  return response.json();
}

export async function placeOrder(item: Item): Promise<Order> {
  const receipt = await post("/demo/shop/orders", { item: item.id });
  return { id: receipt.escrowId, item: item.id, amount: item.price };
}

export async function finishOrder(order: Order): Promise<void> {
  await post(`/demo/shop/orders/${order.id}/finish`);
}

export async function cancelOrder(order: Order): Promise<void> {
  await post(`/demo/shop/orders/${order.id}/cancel`);
}

export async function topUp(): Promise<void> {
  await post("/demo/shop/top-up");
}

async function post(path: string, body: unknown = {}) {
  let response: Response;
  try {
    response = await fetch(path, {
      method: "POST",
      headers: { "Content-Type": "application/json", "Idempotency-Key": crypto.randomUUID() },
      body: JSON.stringify(body),
      signal: AbortSignal.timeout(10_000),
    });
  } catch {
    throw new Refusal("The shop does not answer. Check your connection and try again.");
  }
  const answer = await response.json();
  if (!response.ok) throw new Refusal(explain(answer.code, answer.detail));
  return answer;
}

function explain(code: string, detail: string): string {
  switch (code) {
    case "insufficient_funds":
      return "You have too few points for this. Add some first.";
    case "escrow_already_processed":
      return "This order is closed already.";
    default:
      return detail;
  }
}
