import { useState } from "react";
import type { ReactNode } from "react";

interface Props {
  className?: string;
  disabled?: boolean;
  /** What a screen reader says, if the text alone would be ambiguous. */
  label?: string;
  onAction: () => Promise<void>;
  children: ReactNode;
}

/** A button that ignores clicks while its action runs. It stays focusable meanwhile. */
export function ActionButton({ className, disabled = false, label, onAction, children }: Props) {
  const [isRunning, setRunning] = useState(false);
  const isIdle = isRunning || disabled;

  async function run() {
    if (isIdle) return;
    setRunning(true);
    try {
      await onAction();
    } finally {
      setRunning(false);
    }
  }

  return (
    <button
      type="button"
      className={className}
      aria-disabled={isIdle}
      aria-label={label}
      onClick={() => void run()}
    >
      {children}
    </button>
  );
}
