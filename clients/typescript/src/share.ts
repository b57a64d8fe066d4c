import type { Transport, TransportEnd, TransportEvents } from "./transport.ts";

/** The gateway's limit on the subscriptions of a connection. */
const maxSubscriptions = 32;

/** A transport that several members use. */
export interface Shared {
  /** Sends a member's frames. */
  send(member: string, frames: string): void;
  /** Ends the subscriptions of a member. */
  remove(member: string): void;
  close(): void;
}

/**
 * Opens a transport for several members. The owner's `auth` authenticates it, and the others get
 * the same `welcome`. Each name of a subscription gets its member's name before it, which shows whom
 * a frame is for. `deliver` gets the gateway's frames one by one; without a member, they are for
 * all.
 */
export function shareTransport(
  owner: string,
  open: (events: TransportEvents) => Transport,
  deliver: (member: string | undefined, frame: string) => void,
  close: (end: TransportEnd) => void,
): Shared {
  const subs = new Set<string>();
  let welcome: string | undefined;
  let isOpen = false;
  let queue: string[] = []; // until the transport is open

  const transport = open({
    open() {
      isOpen = true;
      queue.forEach((frame) => transport.send(frame));
      queue = [];
    },
    message: (text) => text.split("\n").forEach(receive),
    close,
  });

  const sendFrame = (frame: object) => {
    const text = JSON.stringify(frame);
    if (isOpen) transport.send(text);
    else queue.push(text);
  };

  const receive = (text: string) => {
    const frame = JSON.parse(text);
    if (frame.op === "welcome") welcome = text;
    if (/^(error|unsubscribed)$/.test(frame.op)) subs.delete(frame.sub);
    if (frame.sub) {
      const [member, ...sub] = frame.sub.split(" ");
      deliver(member, JSON.stringify({ ...frame, sub: sub.join(" ") }));
    } else {
      deliver(/^(welcome|pong|reconnect)$/.test(frame.op) ? undefined : owner, text);
    }
  };

  const send = (member: string, text: string) => {
    const frame = JSON.parse(text);
    const { op, sub } = frame;
    if (op === "auth" && member !== owner) {
      if (welcome) deliver(member, welcome);
      return;
    }
    if (!sub) return sendFrame(frame);
    const name = member + " " + sub;
    if (op === "subscribe") {
      if (subs.size >= maxSubscriptions) {
        const message = "the connection that the tabs share has no room";
        return deliver(member, JSON.stringify({ op: "error", sub, code: "too_many_subscriptions", message }));
      }
      subs.add(name);
    } else {
      subs.delete(name);
    }
    sendFrame({ ...frame, sub: name });
  };

  return {
    send: (member, frames) => frames.split("\n").forEach((text) => send(member, text)),
    remove: (member) =>
      subs.forEach((name) => {
        if (name.startsWith(member + " ")) sendFrame({ op: "unsubscribe", sub: name });
      }),
    close: () => transport.close(),
  };
}
