import { useBalance } from "@redroomrewards/realtime/react";
import { ActionButton } from "./ActionButton";
import { Points } from "./Points";
import { formatPoints, formatTime } from "./format";
import type { UserAccount } from "./shop";

interface Props {
  account: UserAccount;
  onTopUp: () => Promise<void>;
}

/** The user's points: those to spend, and those that are held for open orders. */
export function BalanceCard({ account, onTopUp }: Props) {
  const state = useBalance(account);
  if (state.status === "error") {
    return (
      <section className="balance" aria-label="Balance">
        <p className="balance-error" role="alert">
          {state.error.message}
        </p>
      </section>
    );
  }

  const { balance } = state;
  const available = balance?.available ?? null;
  const held = balance?.escrow ?? null;
  const total = (available ?? 0) + (held ?? 0);
  const heldShare = held && total ? (100 * held) / total : 0;
  return (
    <section
      className={`balance ${state.status}`}
      aria-label="Balance"
      aria-busy={state.status === "loading"}
    >
      <p className="label">Points to spend</p>
      <p className="amount">
        <Points value={available} />
      </p>
      <div className="share" aria-hidden="true">
        <div style={{ transform: `scaleX(${heldShare / 100})` }} />
      </div>
      <dl className="details">
        <div>
          <dt>Held for orders</dt>
          <dd>{held === null ? "…" : formatPoints(held)}</dd>
        </div>
        <div className="updated">
          <dt>{state.status === "stale" ? "Not current since" : "Last change"}</dt>
          <dd>{balance ? formatTime(state.status === "stale" ? state.since : balance.updatedAt) : "…"}</dd>
        </div>
      </dl>
      <ActionButton className="on-card" onAction={onTopUp}>
        Add 500 points
      </ActionButton>
    </section>
  );
}
