const points = new Intl.NumberFormat("en");
const changes = new Intl.NumberFormat("en", { signDisplay: "always" });
const times = new Intl.DateTimeFormat("en-GB", { timeStyle: "medium" });

export function formatPoints(value: number): string {
  return points.format(value);
}

/** The value with its sign. */
export function formatChange(value: number): string {
  return changes.format(value).replace("-", "−");
}

/** The time of day. */
export function formatTime(time: number | string | Date): string {
  return times.format(new Date(time));
}
