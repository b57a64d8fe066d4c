import { Backoff } from "./backoff.ts";
import type { Clock } from "./clock.ts";
import { describeEnd, RealtimeError, Unauthorized } from "./errors.ts";
import type { ClientFrame, ServerFrame, WelcomeFrame } from "./protocol.ts";
import { TokenSource } from "./tokens.ts";
import type { OpenTransport, Transport, TransportEnd, TransportUse } from "./transport.ts";
import type { ClosedReason, ConnectionState, GetToken, TokenReason } from "./types.ts";
import { isOffline } from "./wake.ts";
import { Watchdog } from "./watchdog.ts";
import { ABNORMAL } from "./websocket.ts";

/** The time that getToken may take for a connection, in milliseconds. */
const TOKEN_TIMEOUT = 30_000;

/** The time from the token to the gateway's welcome, in milliseconds. */
const CONNECT_TIMEOUT = 15_000;

/** The time between two attempts while the browser says that there is no network. */
const OFFLINE_PAUSE = 20_000;

/** The gateway's heartbeat if it does not say, in seconds. */
const DEFAULT_HEARTBEAT = 25;

/** The longest pause that a gateway may ask for. setTimeout cannot wait for more than 24 days. */
const LONGEST_PAUSE = 3_600_000;

/** What a connection needs and whom it tells. */
export interface ConnectionSetup {
  url: string;
  getToken: GetToken;
  clock: Clock;
  open: OpenTransport;
  use: TransportUse;
  report(error: unknown): void;
  /** The state has changed. */
  changed(): void;
  /** The gateway accepted a token: the first one of a connection, or a renewed one. */
  welcome(isRenewal: boolean): void;
  /** A frame about subscriptions arrived. */
  frame(frame: ServerFrame): void;
  /** The connection has ended. */
  down(): void;
}

/** The connection of a client: it authenticates, notices that it is dead, and comes back. */
export class Connection {
  state: ConnectionState = { name: "idle" };
  readonly #setup: ConnectionSetup;
  readonly #backoff: Backoff;
  readonly #renewals: Backoff;
  readonly #watchdog: Watchdog;
  #tokens: TokenSource;
  #tokenReason: TokenReason = "connect";
  #transport: Transport | undefined;
  /** Counts the attempts. What belongs to an older one is ignored. */
  #attempt = 0;
  /** The attempt whose token is being renewed. */
  #renewing = 0;
  #timer: unknown;
  /** The time before which the gateway wants no connection. */
  #notBefore = 0;
  #reported = "";

  constructor(setup: ConnectionSetup) {
    this.#setup = setup;
    this.#backoff = new Backoff(setup.clock);
    this.#renewals = new Backoff(setup.clock);
    this.#tokens = new TokenSource(setup.getToken);
    this.#watchdog = new Watchdog(setup.clock, {
      ping: () => this.send({ op: "ping" }),
      dead: () => this.#lose({ code: ABNORMAL, reason: "no answer to a ping" }),
    });
  }

  /** Connects unless that has begun. */
  start(): void {
    if (this.state.name === "idle") this.#connect();
  }

  /** Sends a frame on the live connection. */
  send(frame: ClientFrame): void {
    this.#transport?.send(JSON.stringify(frame));
  }

  /**
   * The network or the page came back: ends the pause between two attempts, unless the gateway
   * asked for it, and checks whether the live connection still works.
   */
  wake(): void {
    const { name } = this.state;
    if (name === "live") this.#watchdog.check();
    const isAsked = this.#setup.clock.now() < this.#notBefore;
    if (name === "waiting" && !isAsked && !isOffline()) this.#connect();
  }

  /** The browser says that there is no network. It may be wrong: a live connection is checked. */
  offline(): void {
    if (this.state.name === "live") this.#watchdog.check();
    if (this.state.name === "waiting") this.#retry(this.state.error!, 0);
  }

  /** The browser stops the page: ends the connection until the page wakes. */
  pause(): void {
    const { name } = this.state;
    if (name !== "live" && name !== "connecting") return;
    this.#reported = "paused"; // nothing is wrong
    this.#retry(new RealtimeError("paused", "The browser has stopped the page."), 0);
  }

  /** Ends the connection and begins again with another user's tokens. */
  setUser(getToken: GetToken): void {
    this.#disconnect();
    this.#tokens = new TokenSource(getToken);
    this.#tokenReason = "connect";
    this.#backoff.reset();
    if (this.state.name !== "idle") this.#connect();
  }

  /** Ends the connection for good. */
  end(reason: ClosedReason, error?: RealtimeError): void {
    this.#disconnect();
    if (error) this.#reportOnce(error);
    this.#change({ name: "closed", reason, ...(error && { error }) });
    this.#setup.down();
  }

  #change(state: ConnectionState): void {
    this.state = state;
    this.#setup.changed();
  }

  #connect(): void {
    const attempt = this.#disconnect();
    const isCurrent = () => attempt === this.#attempt;
    this.#change({ name: "connecting" });
    if (!isCurrent()) return;
    this.#timer = this.#setup.clock.setTimeout(() => {
      this.#tokens.giveUp();
      this.#retry(new RealtimeError("token_timeout", "getToken must settle within 30 s"), 0);
    }, TOKEN_TIMEOUT);
    this.#tokens.request(this.#tokenReason).then(
      (token) => isCurrent() && this.#open(token, isCurrent),
      (error) => isCurrent() && this.#tokenFailed(error),
    );
  }

  #open(token: string, isCurrent: () => boolean): void {
    const { clock, open, url, use } = this.#setup;
    clock.clearTimeout(this.#timer);
    this.#timer = clock.setTimeout(
      () => this.#lose({ code: ABNORMAL, reason: "no answer in 15 s" }),
      CONNECT_TIMEOUT,
    );
    this.#transport = open(
      url,
      {
        open: () => isCurrent() && this.send({ op: "auth", token }),
        message: (text) => isCurrent() && this.#receive(text, isCurrent),
        close: (end) => isCurrent() && this.#lose(end),
      },
      use,
    );
  }

  #receive(text: string, isCurrent: () => boolean): void {
    this.#watchdog.heard();
    for (const line of text.split("\n")) {
      try {
        this.#handle(JSON.parse(line));
      } catch (error) {
        this.#setup.report(new RealtimeError("bad_frame", `a frame cannot be read: ${line}`, error));
      }
      // A listener may have closed the client or switched its user.
      if (!isCurrent()) return;
    }
  }

  #handle(frame: ServerFrame): void {
    switch (frame.op) {
      case "welcome":
        return this.#welcome(frame);
      case "token_expiring":
        return this.#renew();
      case "reconnect":
        this.#notBefore = this.#setup.clock.now() + Math.min(frame.afterMs, LONGEST_PAUSE);
        return;
      default:
        return this.#setup.frame(frame);
    }
  }

  /** isStream is a member of event streams, which make new requests for a ping. */
  #welcome({ heartbeatSeconds, isStream }: WelcomeFrame & { isStream?: true }): void {
    const isRenewal = this.state.name === "live";
    this.#watchdog.start((heartbeatSeconds || DEFAULT_HEARTBEAT) * 1000, !isStream);
    if (!isRenewal) {
      this.#setup.clock.clearTimeout(this.#timer);
      this.#backoff.succeed();
      this.#tokenReason = "connect";
      this.#notBefore = 0;
      this.#reported = "";
      this.#change({ name: "live" });
    }
    // A listener may have closed the client.
    if (this.state.name === "live") this.#setup.welcome(isRenewal);
  }

  #renew(): void {
    const attempt = this.#attempt;
    if (this.#renewing === attempt) return;
    this.#renewing = attempt;
    this.#setup.clock.clearTimeout(this.#timer);
    this.#tokens.request("expiring").then(
      (token) => {
        if (attempt !== this.#attempt) return;
        this.#renewing = 0;
        this.#renewals.succeed();
        this.send({ op: "auth", token });
      },
      (error) => {
        if (attempt !== this.#attempt) return;
        this.#renewing = 0;
        if (error instanceof Unauthorized) return this.#tokenFailed(error);
        this.#setup.report(error);
        this.#timer = this.#setup.clock.setTimeout(() => this.#renew(), this.#renewals.fail());
      },
    );
  }

  #tokenFailed(error: Error): void {
    if (error instanceof Unauthorized) {
      const message = error.message || "nobody is signed in";
      return this.end("unauthorized", new RealtimeError("unauthorized", message, error));
    }
    this.#retry(error as RealtimeError, 0);
  }

  /** Decides what follows the end of a connection. */
  #lose(end: TransportEnd): void {
    const { code, status, retryAfterMs = 0 } = end;
    const pause = Math.min(retryAfterMs, LONGEST_PAUSE);
    const wasLive = this.state.name === "live";
    const error = describeEnd(end, this.#setup.url, wasLive);
    // Networks, gateways and tokens come and go. Developers need not know.
    if (wasLive && code < 4402 && code !== 4400) this.#reported = error.code;
    if (code === 4403) return this.end("forbidden", error);
    if (code === 4410) return this.end("disconnected", error);
    if (code === 4401 || status === 401) this.#tokenReason = "rejected";
    this.#retry(error, pause);
  }

  #retry(error: RealtimeError, retryAfterMs: number): void {
    const { clock } = this.#setup;
    this.#disconnect();
    const now = clock.now();
    const isAsked = this.#notBefore > now;
    let delay = isAsked ? this.#notBefore - now : retryAfterMs + this.#backoff.fail();
    if (isOffline()) {
      delay = Math.max(delay, OFFLINE_PAUSE);
      error = new RealtimeError("offline", "The browser is offline.");
      this.#reported = error.code;
    }
    if (retryAfterMs > 0) this.#notBefore = now + delay;
    this.#timer = clock.setTimeout(() => this.#connect(), delay);
    this.#reportOnce(error);
    this.#change({ name: "waiting", retryAt: now + delay, error });
    this.#setup.down();
  }

  /** Ends what runs. Returns the number of the next attempt. */
  #disconnect(): number {
    const transport = this.#transport;
    this.#transport = undefined;
    this.#attempt++;
    this.#setup.clock.clearTimeout(this.#timer);
    this.#watchdog.stop();
    this.#tokens.cancel();
    transport?.close();
    return this.#attempt;
  }

  /** Reports an error to developers, but not at every attempt. */
  #reportOnce(error: RealtimeError): void {
    if (this.#reported === error.code) return;
    this.#reported = error.code;
    this.#setup.report(error);
  }
}
