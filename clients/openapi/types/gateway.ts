// A client of a gateway's balances, and operators' tools, on the types of the other documents.
import createClient from "openapi-fetch";
import type { paths as CoreAdmin } from "../dist/openapi-core-admin.js";
import type { components, paths as GatewayAdmin } from "../dist/openapi-gateway-admin.js";
import type { paths as Gateway } from "../dist/openapi-gateway.js";

const gateway = createClient<Gateway>({ baseUrl: "http://127.0.0.1:8081" });
const gatewayAdmin = createClient<GatewayAdmin>({ baseUrl: "http://127.0.0.1:9081" });
const coreAdmin = createClient<CoreAdmin>({ baseUrl: "http://127.0.0.1:9080" });

export async function readBalance() {
  const { data, error } = await gateway.GET("/v1/accounts/{account}/balance", {
    params: { path: { account: "user:u1" } },
  });
  if (data?.accountType === "model") return data.earnedBalance;
  // @ts-expect-error: the core has this code, and the gateway does not
  if (error?.code === "escrow_not_found") return 0;
  return error?.code === "account_not_found" ? 0 : undefined;
}

export async function operate() {
  await gatewayAdmin.POST("/admin/disconnect", { body: { account: "user:u1", reason: "support" } });
  // @ts-expect-error: the member is misspelt
  const body: components["schemas"]["RevokeRequest"] = { acount: "user:u1" };
  await gatewayAdmin.POST("/admin/revoke", { body });
  const { data } = await coreAdmin.GET("/admin/outbox");
  // @ts-expect-error: the member is misspelt
  data?.backlogs;
  return data?.backlog;
}
