/** An error that says in its message what to change. */
export class RealtimeError extends Error {
  /** A word for programs, such as `forbidden`, `snapshot_unavailable` or `unreachable`. */
  readonly code: string;

  constructor(code: string, message: string, cause?: unknown) {
    super(message, cause === undefined ? undefined : { cause });
    this.code = code;
  }
}

/** Thrown by getToken if nobody is signed in. It ends the client. */
export class Unauthorized extends Error {}
