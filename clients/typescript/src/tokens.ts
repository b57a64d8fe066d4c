import { RealtimeError, Unauthorized } from "./errors.ts";
import type { GetToken, TokenReason } from "./types.ts";

/** Calls the getToken of one user, once at a time. */
export class TokenSource {
  readonly #getToken: GetToken;
  /** Settles when the running call of getToken has ended. */
  #running: Promise<unknown> | undefined;
  #abort: AbortController | undefined;

  constructor(getToken: GetToken) {
    this.#getToken = getToken;
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

    const call = this.#call(reason, abort.signal);
    const end = () => {
      if (this.#running === running) this.#running = undefined;
      if (this.#abort === abort) this.#abort = undefined;
    };
    const running = call.then(end, end);
    this.#running = running;
    return call;
  }

  /** Tells the running call that its token is no longer needed. */
  cancel(): void {
    this.#abort?.abort();
    this.#abort = undefined;
  }

  /** Gives the running call up, because it takes too long. */
  giveUp(): void {
    this.cancel();
    this.#running = undefined;
  }

  async #call(reason: TokenReason, signal: AbortSignal): Promise<string> {
    try {
      const token: unknown = await this.#getToken({ reason, signal });
      if (typeof token === "string" && token !== "") return token;
      throw new Error("it must return a token (a string)");
    } catch (error) {
      if (error instanceof Unauthorized) throw error;
      const text = (error as Error | undefined)?.message ?? error;
      throw new RealtimeError("token_failed", `getToken failed: ${text}`, error);
    }
  }
}
