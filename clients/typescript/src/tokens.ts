import type { Clock } from "./clock.ts";
import { RealtimeError, Unauthorized } from "./errors.ts";
import type { GetToken, TokenReason } from "./types.ts";

/** The time that a call of getToken may take, in milliseconds. */
const TOKEN_TIMEOUT = 30_000;

/** Calls the getToken of one user, once at a time. */
export class TokenSource {
  readonly #getToken: GetToken;
  readonly #clock: Clock;
  /** Settles when the running call of getToken has ended. */
  #running: Promise<unknown> | undefined;
  #abort: AbortController | undefined;

  constructor(getToken: GetToken, clock: Clock) {
    this.#getToken = getToken;
    this.#clock = clock;
  }

  /**
   * Returns a token. It first waits for the end of a call that was cancelled. The error is an
   * Unauthorized or a RealtimeError. A request that was cancelled is never settled with a token.
   */
  async request(reason: TokenReason): Promise<string> {
    this.cancel();
    const abort = new AbortController();
    this.#abort = abort;
    while (this.#running) await this.#running;
    if (abort.signal.aborted) throw cancelled();

    let timer: unknown;
    const deadline = new Promise<never>((_, reject) => {
      timer = this.#clock.setTimeout(() => {
        reject(new RealtimeError("token_timeout", "getToken must settle within 30 s"));
        abort.abort();
      }, TOKEN_TIMEOUT);
    });
    const call = Promise.race([this.#call(reason, abort.signal), deadline]);
    const ended = call.catch(() => {}).then(() => {
      this.#clock.clearTimeout(timer);
      this.#running = undefined;
    });
    this.#running = ended;
    const token = await call;
    if (abort.signal.aborted) throw cancelled();
    this.#abort = undefined;
    return token;
  }

  /** Tells the running call that its token is no longer needed. */
  cancel(): void {
    this.#abort?.abort();
    this.#abort = undefined;
  }

  async #call(reason: TokenReason, signal: AbortSignal): Promise<string> {
    let token: unknown;
    try {
      token = await this.#getToken({ reason, signal });
    } catch (error) {
      if (error instanceof Unauthorized) throw error;
      const text = (error as Error | undefined)?.message ?? error;
      throw new RealtimeError("token_failed", `getToken failed: ${text}`, error);
    }

    if (typeof token === "string" && token !== "") return token;
    throw new RealtimeError("token_failed", "getToken must return a token, a string that is not empty");
  }
}

function cancelled(): RealtimeError {
  return new RealtimeError("cancelled", "the token is no longer needed");
}
