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
   * Unauthorized or a RealtimeError. A request that is cancelled while it waits never settles.
   */
  async request(reason: TokenReason): Promise<string> {
    this.cancel();
    const abort = new AbortController();
    this.#abort = abort;
    while (this.#running) await this.#running;
    if (abort.signal.aborted) return new Promise(() => {});

    let timer: unknown;
    const deadline = new Promise<never>((_, reject) => {
      timer = this.#clock.setTimeout(() => {
        reject(new RealtimeError("token_timeout", "getToken must settle within 30 s"));
        abort.abort();
      }, TOKEN_TIMEOUT);
    });
    const call = Promise.race([this.#call(reason, abort.signal), deadline]);
    const end = () => {
      this.#clock.clearTimeout(timer);
      this.#running = undefined;
      if (this.#abort === abort) this.#abort = undefined;
    };
    this.#running = call.then(end, end);
    return call;
  }

  /** Tells the running call that its token is no longer needed. */
  cancel(): void {
    this.#abort?.abort();
    this.#abort = undefined;
  }

  async #call(reason: TokenReason, signal: AbortSignal): Promise<string> {
    try {
      const token: unknown = await this.#getToken({ reason, signal });
      if (typeof token === "string" && token !== "") return token;
      throw new Error("it must return a token, a string that is not empty");
    } catch (error) {
      if (error instanceof Unauthorized) throw error;
      const text = (error as Error | undefined)?.message ?? error;
      throw new RealtimeError("token_failed", `getToken failed: ${text}`, error);
    }
  }
}
