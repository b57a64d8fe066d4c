import { useEffect, useState } from "react";
import { useBalance, useConnectionState } from "@redroomrewards/realtime/react";
import { formatTime } from "./format";
import type { UserAccount } from "./shop";

/** The state of the connection, as a small label. */
export function ConnectionPill() {
  const state = useConnectionState();
  const seconds = useSecondsUntil(state.name === "waiting" ? state.retryAt : null);
  switch (state.name) {
    case "live":
      return <Pill kind="live" text="Live" />;
    case "waiting":
      return <Pill kind="waiting" text="Reconnecting" detail={seconds > 0 ? ` in ${seconds} s` : " …"} />;
    case "closed":
      return <Pill kind="closed" text="Disconnected" />;
    default:
      return <Pill kind="connecting" text="Connecting" detail=" …" />;
  }
}

/** Screen readers hear the text, and not the detail, which changes every second. */
function Pill({ kind, text, detail }: { kind: string; text: string; detail?: string }) {
  return (
    <p className={`pill ${kind}`}>
      <span className="dot" aria-hidden="true" />
      <span role="status">{text}</span>
      {detail && <span className="detail" aria-hidden="true">{detail}</span>}
    </p>
  );
}

/** Whole seconds until a time, counting down. 0 when the time has passed or is null. */
function useSecondsUntil(time: number | null): number {
  const [now, setNow] = useState(() => Date.now());
  useEffect(() => {
    if (time === null) return;
    setNow(Date.now());
    const timer = setInterval(() => setNow(Date.now()), 1000);
    return () => clearInterval(timer);
  }, [time]);
  return time === null ? 0 : Math.max(0, Math.ceil((time - now) / 1000));
}

/** Says above the page that its numbers are old. It is silent while the page connects for the first time. */
export function OfflineBanner({ account }: { account: UserAccount }) {
  const connection = useConnectionState();
  const balance = useBalance(account);
  return <div role="status">{explain()}</div>;

  function explain() {
    if (connection.name === "closed") {
      return <Banner title="You are signed out." text={connection.error?.message ?? "Reload the page to connect again."} />;
    }
    if (balance.status !== "stale") return null;
    return (
      <Banner
        title={navigator.onLine ? "No connection." : "You are offline."}
        text={`Your points are as of ${formatTime(balance.since)}. We keep trying to reconnect.`}
      />
    );
  }
}

function Banner({ title, text }: { title: string; text: string }) {
  return (
    <p className="banner">
      <strong>{title}</strong> {text}
    </p>
  );
}
