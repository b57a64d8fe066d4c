import type { Clock } from "./clock.ts";
import { reconnectNow } from "./reconnect.ts";
import { type Shared, shareTransport } from "./share.ts";
import type { OpenTransport, TransportEnd } from "./transport.ts";

/** How long a tab waits for a sign of the leader, in milliseconds. */
const leaderMs = 3_000;

/** How long a message of the leader may take after its lock is free, in milliseconds. */
const farewellMs = 100;

/** What tabs tell each other. Without `to`, the message is for all. */
interface Message {
  from?: string;
  to?: string | undefined;
  /** The sender has joined and looks for the leader. */
  joined?: true;
  /** The sender leads. */
  leads?: true;
  /** Frames for the gateway, or from it. */
  frames?: string;
  /** The leader's connection has ended. */
  end?: TransportEnd;
}

/**
 * Wraps `open` so that the tabs of one user share a connection. The tab that holds a Web Lock leads:
 * it opens the connection, and relays the other tabs' frames over a BroadcastChannel. To its client,
 * each tab has a transport of its own. So each client keeps its own positions, and resumes from them
 * when the lead moves.
 *
 * A tab takes the lead by force if the leader, which may be frozen, does not answer within three
 * seconds, or not to a ping. Without Web Locks or BroadcastChannel, and if the shared connection has
 * no room for more subscriptions, the tab uses a connection of its own.
 */
export function shareTabs(open: OpenTransport, clock: Clock): OpenTransport {
  let alone = false; // the shared connection has no room
  let distrust = false; // the leader did not answer a ping

  return (url, events, use) => {
    const { navigator, BroadcastChannel } = globalThis;
    const locks = navigator?.locks;
    if (alone || !locks || !BroadcastChannel) return open(url, events, use);

    const me = Math.random().toString(36).slice(2, 10);
    const waiting: string[] = []; // frames while there is no leader
    let leader: string | undefined;
    let shared: Shared | undefined; // of the leader
    let channel: BroadcastChannel | undefined;
    let release = () => {};
    let timer: unknown;
    let pinged = false; // no frame has arrived since a ping
    let ended = false;

    const post = (message: Message) => channel?.postMessage({ from: me, ...message });

    const end = (how: TransportEnd) => {
      if (ended) return;
      ended = true;
      clock.clearTimeout(timer);
      shared?.close();
      channel?.close();
      release();
      events.close(how);
    };

    /** Ends the transport because another tab leads, or nobody. The client connects again at once. */
    const moveOn = () => {
      if (!ended) events.message(reconnectNow);
      end({ code: 1012, reason: "the lead moves to another tab" });
    };

    const receive = (text: string) => {
      pinged = false;
      if (text.includes('"too_many_subscriptions"')) {
        alone = true;
        return moveOn();
      }
      events.message(text);
    };

    /** Runs with the lock. Holds it as long as the promise is open. */
    const lead = (held: Promise<void>) => {
      if (ended) return;
      if (leader) {
        // The leader has ended. Why it ended may arrive later than the lock.
        timer = clock.setTimeout(moveOn, farewellMs);
        return;
      }
      leader = me;
      clock.clearTimeout(timer);
      shared = shareTransport(
        me,
        (sharedEvents) => open(url, sharedEvents, use),
        (to, frames) => {
          if (to !== me) post({ to, frames });
          if (!to || to === me) receive(frames);
        },
        (how) => {
          if (!ended) post({ end: how });
          end(how);
        },
      );
      post({ leads: true });
      waiting.forEach(send);
      return held;
    };

    const join = (name: string) => {
      const held = new Promise<void>((resolve) => (release = resolve));
      const requestLead = (options: LockOptions) => {
        locks.request(name, options, () => lead(held)).catch(moveOn); // rejected: lost by force
      };
      // While a tab holds its own lock, the leader keeps its subscriptions.
      const start = () => {
        if (ended) return;
        channel = new BroadcastChannel(name);
        channel.onmessage = ({ data }) => take(data, (tab) => name + tab);
        post({ joined: true });
        requestLead({});
        timer = clock.setTimeout(() => requestLead({ steal: true }), distrust ? 0 : leaderMs);
        distrust = false;
        return held;
      };
      locks.request(name + me, start).catch(moveOn);
    };

    const members = new Set<string>(); // those that the leader serves
    const take = (message: Message, lockOf: (tab: string) => string) => {
      const { from, to, joined, leads, frames, end: how } = message;
      if (ended || !from || (to && to !== me)) return;
      if (shared) {
        if (joined) post({ to: from, leads: true });
        if (!frames) return;
        if (!members.has(from)) {
          members.add(from);
          locks.request(lockOf(from), () => shared!.remove(from)).catch(() => {});
        }
        shared.send(from, frames);
        return;
      }
      if (leads && !leader) {
        leader = from;
        clock.clearTimeout(timer);
        waiting.forEach(send);
      }
      if (leads && leader !== from) return moveOn();
      if (from !== leader) return;
      if (frames) receive(frames);
      if (how) end(how);
    };

    const send = (frames: string) => {
      pinged ||= frames.includes('"ping"');
      if (shared) shared.send(me, frames);
      else if (leader) post({ to: leader, frames });
      else if (waiting.push(frames) === 1) join("realtime " + url + " " + identify(frames));
    };

    queueMicrotask(() => ended || events.open());
    return {
      send,
      close(code = 1000, reason = "") {
        distrust = pinged && !shared;
        end({ code, reason });
      },
    };
  };
}

/** Returns what the tabs of one user have in common, from the frame `auth`. */
function identify(frames: string): string {
  const { token } = JSON.parse(frames.split("\n")[0]!);
  try {
    const [, claims] = token.split(".");
    const { iss, sub, accounts, scope } = JSON.parse(
      atob(claims.replace(/-/g, "+").replace(/_/g, "/")),
    );
    return JSON.stringify([iss, sub, accounts, scope]);
  } catch {
    return token; // not a JWT
  }
}
