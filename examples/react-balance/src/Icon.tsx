import type { ReactNode } from "react";
import type { Toast } from "./useToasts";

function Svg({ children }: { children: ReactNode }) {
  return (
    <svg viewBox="0 0 24 24" fill="none" stroke="currentColor" strokeWidth="1.8" strokeLinecap="round" strokeLinejoin="round" aria-hidden="true">
      {children}
    </svg>
  );
}

const itemIcons: Record<string, ReactNode> = {
  song: (
    <>
      <path d="M9 18V6l10-2v12" />
      <circle cx="6.5" cy="18" r="2.5" />
      <circle cx="16.5" cy="16" r="2.5" />
    </>
  ),
  "shout-out": <path d="M4 10v4h3l7 4V6l-7 4H4Zm13.5-1.5a5 5 0 0 1 0 7M8 14.5V19h2.5v-3" />,
  spin: (
    <>
      <circle cx="12" cy="12" r="8.5" />
      <path d="M12 3.5v17M4.6 7.8l14.8 8.4M4.6 16.2l14.8-8.4" />
    </>
  ),
  private: <path d="M12 20.5 4.2 12.4a4.7 4.7 0 0 1 6.7-6.6l1.1 1.1 1.1-1.1a4.7 4.7 0 0 1 6.7 6.6Z" />,
};

export function ItemIcon({ id }: { id: string }) {
  return (
    <span className={`tile ${id}`}>
      <Svg>{itemIcons[id] ?? <circle cx="12" cy="12" r="7" />}</Svg>
    </span>
  );
}

const toastIcons: Record<Toast["kind"], ReactNode> = {
  held: <path d="M7 11V8a5 5 0 0 1 10 0v3M5.5 11h13v9h-13Z" />,
  spent: <path d="m5 12.5 4.5 4.5L19 7.5" />,
  returned: <path d="M9 7 4.5 11.5 9 16M5 11.5h9a5 5 0 0 1 5 5v1.5" />,
  added: <path d="M12 5v14M5 12h14" />,
  refusal: <path d="M12 7.5v6M12 17v.1M12 3.5l9.5 17h-19Z" />,
};

export function ToastIcon({ kind }: { kind: Toast["kind"] }) {
  return (
    <span className="tile">
      <Svg>{toastIcons[kind]}</Svg>
    </span>
  );
}

export function CloseIcon() {
  return (
    <Svg>
      <path d="m7 7 10 10M17 7 7 17" />
    </Svg>
  );
}

export function Logo() {
  return (
    <svg className="logo" viewBox="0 0 32 32" aria-hidden="true">
      <rect width="32" height="32" rx="9" fill="#b3123f" />
      <path d="M16 25 7.6 16.4a5.3 5.3 0 0 1 7.5-7.5l.9.9.9-.9a5.3 5.3 0 0 1 7.5 7.5Z" fill="#fff" />
    </svg>
  );
}
