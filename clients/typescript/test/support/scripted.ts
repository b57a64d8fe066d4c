import type { OpenTransport, TransportEnd, TransportEvents } from "../../src/transport.ts";
import { Queue } from "./queue.ts";

/** A transport whose other side the test plays. */
export class Scripted {
  /** The frames that the client has sent. */
  readonly sent = new Queue<any>();
  ended: TransportEnd | undefined;

  constructor(readonly events: TransportEvents) {}

  send(frame: string): void {
    for (const line of frame.split("\n")) this.sent.put(JSON.parse(line));
  }

  /** Lets a frame arrive. */
  receive(frame: object): void {
    this.events.message(JSON.stringify(frame));
  }

  close(code = 1000, reason = ""): void {
    if (this.ended) return;
    this.ended = { code, reason };
    this.events.close(this.ended);
  }
}

/** Returns what opens scripted transports, and those that it has opened. */
export function scriptTransports(): { open: OpenTransport; opened: Queue<Scripted> } {
  const opened = new Queue<Scripted>();
  return {
    opened,
    open(_url, events) {
      const transport = new Scripted(events);
      opened.put(transport);
      return transport;
    },
  };
}

/** What a client sees of its transport. */
export class Seen {
  readonly opens = new Queue<true>();
  readonly frames = new Queue<any>();
  readonly closes = new Queue<TransportEnd>();

  open(): void {
    this.opens.put(true);
  }

  message(text: string): void {
    for (const line of text.split("\n")) this.frames.put(JSON.parse(line));
  }

  close(end: TransportEnd): void {
    this.closes.put(end);
  }
}
