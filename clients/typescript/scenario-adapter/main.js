// The adapter of this client for the scenarios in clients/scenarios: see their README.
import { register } from "tsx/esm/api";

register();
await import("./adapter.ts");
