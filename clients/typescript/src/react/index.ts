"use client";

export { useBalance } from "./balance.ts";
export type { UseBalanceOptions } from "./balance.ts";
export { useConnectionState } from "./connection.ts";
export { useEvents } from "./events.ts";
export type { EventHandler } from "./events.ts";
export { RealtimeProvider, useRealtimeClient } from "./provider.ts";
export type { RealtimeProviderProps } from "./provider.ts";
