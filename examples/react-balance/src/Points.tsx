import { useEffect, useRef, useState } from "react";
import { formatChange, formatPoints } from "./format";

/** A number of points. When it changes, it shows the difference for a moment. */
export function Points({ value }: { value: number | null }) {
  const before = useRef<number | null>(null);
  const [change, setChange] = useState({ points: 0, count: 0 });

  useEffect(() => {
    const previous = before.current;
    before.current = value;
    if (value === null || previous === null || value === previous) return;
    setChange(({ count }) => ({ points: value - previous, count: count + 1 }));
  }, [value]);

  if (value === null) {
    return (
      <span className="skeleton">
        <span className="visually-hidden">Loading</span>
      </span>
    );
  }
  return (
    <>
      <span className="number" key={`number-${change.count}`}>
        {formatPoints(value)}
      </span>
      {change.count > 0 && (
        <span
          className={change.points > 0 ? "change up" : "change down"}
          key={`change-${change.count}`}
          aria-hidden="true"
        >
          {formatChange(change.points)}
        </span>
      )}
    </>
  );
}
