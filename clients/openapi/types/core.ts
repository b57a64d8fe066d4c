// A backend on the types of docs/openapi.json. Each @ts-expect-error stands above a typing error that
// must not compile. It is an error itself if the next line compiles.
import createClient from "openapi-fetch";
import type { components, paths } from "../dist/openapi.js";

type Schemas = components["schemas"];

const core = createClient<paths>({ baseUrl: "http://127.0.0.1:8080", headers: { Authorization: "Bearer …" } });

export async function hold(): Promise<string> {
  const { data, error } = await core.POST("/v1/accounts/{account}/holds", {
    params: { path: { account: "user:u1" }, header: { "Idempotency-Key": "order-4711-hold" } },
    body: { amount: 100, reason: "chip_menu_purchase", queueItemId: "queue-1", featureType: "chip_menu" },
  });
  if (data) return data.transactionId;
  switch (error.code) {
    case "insufficient_funds":
      return `${error.availableBalance} of ${error.requestedAmount}`;
    case "invalid_request":
      return error.errors[0]!.pointer;
    // @ts-expect-error: a hold cannot give this answer
    case "escrow_already_processed":
      return "closed";
    // @ts-expect-error: there is no such code
    case "insuficient_funds":
      return "poor";
  }
  // @ts-expect-error: this member belongs to another code
  return error.availableBalance;
}

export async function wrongRequests() {
  const params = { path: { account: "user:u1" }, header: { "Idempotency-Key": "k" } };
  const body = { amount: 100, reason: "r", queueItemId: "q", featureType: "f" };
  // @ts-expect-error: there is no such path
  await core.POST("/v1/accounts/{account}/hold", { params, body });
  // @ts-expect-error: the key is missing
  await core.POST("/v1/accounts/{account}/holds", { params: { path: params.path }, body });
  // @ts-expect-error: a member is missing
  await core.POST("/v1/accounts/{account}/holds", { params, body: { amount: 100, reason: "r", queueItemId: "q" } });
  // openapi-fetch does not refuse additional members by itself, so give bodies their types.
  // @ts-expect-error: the member is misspelt
  const misspelt: Schemas["HoldRequest"] = { ...body, expiresInSecond: 60 };
  // @ts-expect-error: an amount is a number
  await core.POST("/v1/accounts/{account}/credits", { params, body: { amount: "100", reason: "r" } });
  await core.GET("/v1/accounts/{account}/escrows", {
    // @ts-expect-error: there is no such status
    params: { path: params.path, query: { status: "open" } },
  });
}

export function showBalance(balance: Schemas["Balance"]): number {
  if (balance.accountType === "user") {
    // @ts-expect-error: this balance belongs to models
    balance.earnedBalance;
    return balance.availableBalance + balance.escrowBalance;
  }
  // @ts-expect-error: this balance belongs to users
  balance.availableBalance;
  // @ts-expect-error: the member is misspelt
  balance.earndBalance;
  return balance.earnedBalance;
}

// @ts-expect-error: a model has no available balance
export const mixed: Schemas["ModelBalance"] = { ...({} as Schemas["ModelBalance"]), availableBalance: 1 };

export function showEvent({ event }: Schemas["AccountEvent"]): number | undefined {
  switch (event.eventType) {
    case "wallet.balance_updated":
      return event.balanceAfter;
    case "wallet.escrow_held":
      // @ts-expect-error: this member belongs to another type
      event.balanceAfter;
      return event.userEscrowBalance;
    case "wallet.escrow_partial_settled":
      return event.settleAmount;
    // @ts-expect-error: there is no such type
    case "wallet.escrow_hold":
      return 0;
  }
  return event.amount;
}

export const operations: Schemas["BatchedOperation"][] = [
  { operation: "credit", idempotencyKey: "a", account: "user:u1", amount: 1, reason: "r" },
  { operation: "refund", idempotencyKey: "b", escrowId: "e", amount: 1, reason: "r", queueItemId: "q" },
  // @ts-expect-error: a refund has no model
  { operation: "refund", idempotencyKey: "c", escrowId: "e", amount: 1, reason: "r", queueItemId: "q", modelId: "m1" },
  // @ts-expect-error: a hold needs a feature
  { operation: "hold", idempotencyKey: "d", account: "user:u1", amount: 1, reason: "r", queueItemId: "q" },
  // @ts-expect-error: there is no such operation
  { operation: "release", idempotencyKey: "e", escrowId: "e", amount: 1, reason: "r", queueItemId: "q" },
];
