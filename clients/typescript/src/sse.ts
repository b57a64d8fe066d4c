import type { Clock } from "./clock.ts";
import { parseEventStream } from "./eventstream.ts";
import type { OpenTransport } from "./transport.ts";
import { tryBack } from "./tryback.ts";

/** How long the gateway may take to answer a request, in milliseconds. */
const answerMs = 15_000;

/** How long a stream may be silent, in milliseconds. The gateway sends a comment every 25 s. */
const silenceMs = 40_000;

/** Maps the `code` of a problem document to the code of a subscription's error. */
const subscriptionErrors: Record<string, string> = {
  invalid_request: "bad_request",
  forbidden: "forbidden",
  unavailable: "snapshot_unavailable",
};

/** Maps the `code` of a problem document to the close code that a socket gets. */
const closeCodes: Record<string, number> = { unauthorized: 4401, forbidden: 4403 };

/** A GET request for /v1/events that is repeated from where the last one ended. */
interface Stream {
  /** The client's `subscribe`. Without it, the request only checks the token and the network. */
  frame?: any;
  /** The id of the newest event. */
  id?: string;
  /** The names of the accounts as soon as the subscription is open. */
  accounts?: string;
  stop(): void;
}

/**
 * Returns what opens server-sent events in place of a socket. Each `subscribe` becomes a GET request for
 * /v1/events with the token in a header. `auth` and `ping` make all requests again, each after the
 * newest event that it got: so a new token takes effect without a hole or a repeat, and the answer
 * shows that the network works.
 */
export const eventStreams = (clock: Clock): OpenTransport => (url, events, use) => {
  const streams = new Map<string | undefined, Stream>(); // by the client's name; undefined: a check
  let token = "";
  let awaited: string | undefined; // the op of the client's frame that the next welcome answers
  let announced: boolean; // token_expiring or reconnect was passed on
  let ended = false;

  const emit = (frame: object) => {
    if (!ended) events.message(JSON.stringify(frame));
  };

  const end = (code: number, reason: string, more?: object) => {
    if (ended) return;
    ended = true;
    streams.forEach((stream) => stream.stop());
    events.close({ code, reason, ...more });
  };

  const remove = (sub?: string) => {
    streams.get(sub)?.stop();
    streams.delete(sub);
  };

  /** Answers the pending `auth` or `ping`. */
  const answer = (welcome: object) => {
    remove();
    if (awaited) emit(awaited === "ping" ? { op: "pong" } : { ...welcome, isStream: true });
    awaited = "";
  };

  const receive = (stream: Stream, frame: any) => {
    switch (frame.op) {
      case "welcome":
        return answer(frame);
      case "closed":
        return end(frame.code, frame.reason);
      case "token_expiring":
      case "reconnect":
        if (!announced) emit(frame); // every stream says it
        announced = true;
        return;
      case "subscribed": {
        const accounts = frame.accounts.map((a: any) => a.account).join();
        const before = stream.accounts;
        stream.accounts = accounts;
        if (before === accounts) return; // the client knows; a resync may follow
        if (before !== undefined) return end(1012, "the token has other accounts");
      }
    }
    emit({ ...frame, sub: stream.frame.sub });
  };

  /** Handles an answer that is not 200. */
  const refuse = async ({ frame }: Stream, response: Response) => {
    const { status, headers } = response;
    const problem: any = await response.json().catch(() => ({}));
    const { code, detail = `HTTP ${status}` } = problem;
    const error = subscriptionErrors[code];
    if (frame && error) {
      remove(frame.sub);
      return emit({ op: "error", sub: frame.sub, code: error, message: detail });
    }
    // A token that names no accounts gets this answer to a check. The token is accepted.
    if (error === "bad_request") return answer({ op: "welcome", heartbeatSeconds: 25 });

    const after = headers.get("Retry-After");
    const retryAfterMs = after && (+after * 1000 || Date.parse(after) - Date.now());
    end(closeCodes[code] ?? 1006, detail, { status, ...(retryAfterMs && { retryAfterMs }) });
  };

  /** Handles an answer that does not come. */
  const miss = ({ frame }: Stream) => {
    const message = "no answer; over HTTP/1.1, a browser has six streams";
    if (!frame || awaited) return end(1006, message);
    remove(frame.sub);
    emit({ op: "error", sub: frame.sub, code: "snapshot_unavailable", message });
  };

  const start = (stream: Stream) => {
    const { frame, id } = stream;
    const controller = new AbortController();
    const { signal } = controller;
    let timer: unknown;
    const watch = (ms: number, run: () => void) => {
      clock.clearTimeout(timer);
      timer = clock.setTimeout(run, ms);
    };
    stream.stop();
    stream.stop = () => {
      clock.clearTimeout(timer);
      controller.abort();
    };

    const read = async () => {
      const response = await (use.fetch ?? globalThis.fetch)(streamURL(url, frame), {
        headers: { Authorization: "Bearer " + token, ...(id && { "Last-Event-ID": id }) },
        signal,
      });
      if (!response.ok) return refuse(stream, response);

      const reader = response.body!.getReader();
      const decoder = new TextDecoder();
      const parse = parseEventStream((data, id) => {
        if (signal.aborted) return;
        if (id) stream.id = id;
        // The client counts any frame as a sign of life.
        if (data === undefined) emit({ op: "pong" });
        else receive(stream, JSON.parse(data));
      });
      while (!signal.aborted) {
        watch(silenceMs, () => end(1006, "the stream was silent"));
        const { done, value } = await reader.read();
        if (done) throw new Error("the stream ended");
        parse(decoder.decode(value, { stream: true }));
      }
    };

    watch(answerMs, () => miss(stream));
    read().catch((error) => signal.aborted || end(1006, error.message));
  };

  const open = (sub?: string, frame?: object) => {
    remove(sub);
    const stream = { frame, stop() {} };
    streams.set(sub, stream);
    start(stream);
  };

  /** Makes all requests again, or one if there is none. */
  const verify = (op: string) => {
    awaited = op;
    if (streams.size) streams.forEach(start);
    else open();
  };

  const handle = (frame: any) => {
    switch (frame.op) {
      case "auth":
        token = frame.token;
        announced = false;
        return verify("auth");
      case "ping":
        return verify("ping");
      case "subscribe":
        return open(frame.sub, frame);
      case "unsubscribe":
        remove(frame.sub);
        emit({ op: "unsubscribed", sub: frame.sub });
    }
  };

  queueMicrotask(() => ended || events.open());
  return {
    send: (text) => text.split("\n").forEach((line) => handle(JSON.parse(line))),
    close: (code = 1000, reason = "") => end(code, reason),
  };
};

/** Returns what opens event streams, and leaves them when a WebSocket can be opened again. */
export const openEvents = (openSocket: OpenTransport, clock: Clock): OpenTransport =>
  tryBack(eventStreams(clock), openSocket, clock);

/** Returns the URL of the stream of a subscription. `url` is the socket's. */
function streamURL(url: string, frame: any = {}): string {
  const query = new URLSearchParams();
  for (const name of ["accounts", "types", "reasons", "features", "minAmount", "snapshot"]) {
    if (frame[name] !== undefined) query.set(name, frame[name]);
  }
  const after = Object.entries(frame.after ?? {}).map(
    ([account, seq]) => account + "=" + seq + (frame.chain?.[account] ? ":" + frame.chain[account] : ""),
  );
  if (after.length) query.set("after", after.join());
  return url.replace(/^ws/, "http").replace(/\/ws(?=$|\?)/, "/events") + "?" + query;
}
