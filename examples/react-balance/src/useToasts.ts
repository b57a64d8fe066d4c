import { useCallback, useState } from "react";

export interface Toast {
  id: number;
  kind: "held" | "spent" | "returned" | "added" | "refusal";
  title: string;
  text?: string;
}

/** The newest toasts stay; older ones make room. */
const maxToasts = 3;

let lastId = 0;

export function useToasts() {
  const [toasts, setToasts] = useState<Toast[]>([]);
  const addToast = useCallback((toast: Omit<Toast, "id">) => {
    lastId++;
    const added = { ...toast, id: lastId };
    setToasts((all) => [...all, added].slice(-maxToasts));
  }, []);
  const removeToast = useCallback((id: number) => {
    setToasts((all) => all.filter((toast) => toast.id !== id));
  }, []);
  return { toasts, addToast, removeToast };
}
