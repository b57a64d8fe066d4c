import type { TransportEnd } from "./transport.ts";

/** An error that says in its message what to change. */
export class RealtimeError extends Error {
  /** A word for programs, such as `forbidden`, `snapshot_unavailable` or `unreachable`. */
  readonly code: string;

  constructor(code: string, message: string, cause?: unknown) {
    super(message, cause === undefined ? undefined : { cause });
    this.code = code;
  }
}

/** Thrown by getToken if nobody is signed in. It ends the client. */
export class Unauthorized extends Error {}

/** What developers or operators can change, by the code of the error. */
const advice: { [code: string]: string } = {
  unauthorized: "getToken must return a valid token that has not expired",
  forbidden: "the token was revoked, so sign in again and call setUser",
  disconnected: "an administrator closed it",
  rate_limited: "open fewer connections",
  slow_consumer: "listeners must return sooner",
};

/**
 * Returns the error for the end of a connection. isOpened tells whether the gateway had answered.
 */
export function describeEnd(end: TransportEnd, url: string, isOpened: boolean): RealtimeError {
  const { code, reason, status } = end;
  if (status === 401) return describe("unauthorized", reason);
  const origin = globalThis.location?.origin ?? "the page";
  const allow = `the gateway's --allowed-origins must have ${origin}`;
  if (status === 403) return new RealtimeError("forbidden", `The connection was refused (${reason}): sign in again, or ${allow}.`);
  const isBroken = code === 1006 || code === 1005 || code === 1000;
  if (!isBroken) return describe(/^[a-z_]+/.exec(reason)?.[0] ?? `close_${code}`, reason);
  if (isOpened) return describe("connection_lost", reason || "the network or the gateway ended it");

  const why = reason && ` (${reason})`;
  return new RealtimeError(
    "unreachable",
    `The gateway did not accept the connection${why}: check that it runs, and that the url ${url} is ` +
      `right, which usually ends in /v1/ws; ${allow}.`,
  );
}

function describe(code: string, reason: string): RealtimeError {
  const help = advice[code];
  return new RealtimeError(code, `The connection ended (${reason || code})${help ? `: ${help}` : ""}.`);
}
