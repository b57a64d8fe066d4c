// The documents in docs.
import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";

export const openAPI = ["openapi", "openapi-gateway", "openapi-core-admin", "openapi-gateway-admin"];

export const pathOf = (name) => fileURLToPath(new URL(`../../../docs/${name}.json`, import.meta.url));

export const textOf = (name) => readFileSync(pathOf(name), "utf8");
