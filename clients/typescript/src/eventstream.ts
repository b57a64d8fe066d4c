/** The longest event in characters. The gateway's largest frame is far below it. */
const maxLength = 1 << 20;

/**
 * Returns a function that takes the decoded text of an event stream, chunk by chunk, and calls
 * `dispatch` for each event and each comment, with the newest id of the stream. A comment has no
 * data. Lines end with LF, CR or CRLF, and a chunk may end anywhere. An event that the end of the
 * stream cuts off is never dispatched. The function throws if an event is longer than 1 MiB.
 */
export function parseEventStream(
  dispatch: (data: string | undefined, id: string) => void,
): (text: string) => void {
  let partial = "";
  let endedWithCR = false;
  let data: string | undefined;
  let id = "";
  let nextId = "";

  const takeLine = (line: string) => {
    const [, field, value = ""] = /^([^:]*)(?::\x20?(.*))?$/s.exec(line)!;
    if (line === "") {
      id = nextId;
      if (data !== undefined) dispatch(data, id);
      data = undefined;
    } else if (field === "") {
      dispatch(undefined, id);
    } else if (field === "data") {
      data = data === undefined ? value : data + "\n" + value;
    } else if (field === "id" && !value.includes("\0")) {
      nextId = value;
    }
  };

  return (text) => {
    if (text === "") return;
    // The LF of a CRLF that was cut in two ends no second line.
    const rest = endedWithCR && text[0] === "\n" ? text.slice(1) : text;
    endedWithCR = text.endsWith("\r");
    const lines = (partial + rest).split(/\r\n|\r|\n/);
    partial = lines.pop()!;
    lines.forEach(takeLine);
    if (partial.length + (data ?? "").length > maxLength) throw new Error("the event is too long");
  };
}
