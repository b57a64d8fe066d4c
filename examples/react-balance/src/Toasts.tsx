import { useEffect, useState } from "react";
import { CloseIcon, ToastIcon } from "./Icon";
import type { Toast } from "./useToasts";

/** How long a toast stays, in milliseconds, unless the pointer or the focus is on it. */
const stay = 6000;

/** The list is always on the page, so that screen readers announce what is added to it. */
export function ToastList({ toasts, onClose }: { toasts: Toast[]; onClose: (id: number) => void }) {
  return (
    <div className="toasts" role="log" aria-live="polite" aria-label="News about your points">
      {toasts.map((toast) => (
        <ToastItem key={toast.id} toast={toast} onClose={onClose} />
      ))}
    </div>
  );
}

function ToastItem({ toast, onClose }: { toast: Toast; onClose: (id: number) => void }) {
  const [isHeld, setHeld] = useState(false);
  useEffect(() => {
    if (isHeld) return;
    const timer = setTimeout(() => onClose(toast.id), stay);
    return () => clearTimeout(timer);
  }, [isHeld, toast.id, onClose]);

  return (
    <div
      className={`toast ${toast.kind}`}
      onPointerEnter={() => setHeld(true)}
      onPointerLeave={() => setHeld(false)}
      onFocus={() => setHeld(true)}
      onBlur={() => setHeld(false)}
    >
      <ToastIcon kind={toast.kind} />
      <div className="grow">
        <p className="title">{toast.title}</p>
        {toast.text && <p className="dim">{toast.text}</p>}
      </div>
      <button type="button" className="close" aria-label="Dismiss" onClick={() => onClose(toast.id)}>
        <CloseIcon />
      </button>
    </div>
  );
}
