/** The page without a back end. */
export function StartFailed({ error, retry }: { error: unknown; retry: () => void }) {
  return (
    <main className="start-failed">
      <h1>The shop does not answer</h1>
      <p>
        Run <code>core dev</code>, then try again.
      </p>
      <p className="dim">{String(error)}</p>
      <button type="button" className="primary" onClick={retry}>
        Try again
      </button>
    </main>
  );
}
