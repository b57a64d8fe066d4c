import type { Clock } from "./clock.ts";
import { fallBack, type Fallback } from "./fallback.ts";
import type { OpenTransport, Transport } from "./transport.ts";
import type { ClientOptions } from "./types.ts";

/**
 * Returns what opens the connections of a client: WebSockets, and what stands in for them. Outside
 * of browsers, there are server-sent events only if the application injects a fetch. The code for
 * them and for shared tabs is loaded when it is needed, so that most pages never load it.
 */
export function chooseTransport(
  openSocket: OpenTransport,
  options: Pick<ClientOptions, "fetch" | "shareTabs">,
  clock: Clock,
): Fallback {
  const openEvents = loadFirst(async () => (await import("./sse.ts")).openEvents(openSocket, clock));
  const canStream = options.fetch ?? globalThis.document;
  const fallback = fallBack(openSocket, canStream ? openEvents : openSocket, clock);
  if (!options.shareTabs) return fallback;
  const openShared = loadFirst(async () => (await import("./tabs.ts")).shareTabs(fallback.open, clock));
  return { ...fallback, open: openShared };
}

/** Returns what loads the code of a transport, once, and then opens it. */
function loadFirst(load: () => Promise<OpenTransport>): OpenTransport {
  let loading: Promise<OpenTransport> | undefined;

  return (url, events, use) => {
    let transport: Transport | undefined;
    let ended = false;
    loading ??= load();
    loading.then(
      (open) => {
        if (!ended) transport = open(url, events, use);
      },
      (error) => {
        loading = undefined;
        if (!ended) events.close({ code: 1006, reason: String(error) });
      },
    );
    return {
      send: (frame) => transport!.send(frame),
      close(code = 1000, reason = "") {
        ended = true;
        if (transport) transport.close(code, reason);
        else events.close({ code, reason });
      },
    };
  };
}
