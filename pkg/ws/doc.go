// Package ws delivers balance events from the bus to apps, over the WebSocket protocol wallet.v1
// and as server-sent events. docs/protocol.md describes both for app developers.
//
// # Guarantees for a subscriber
//
// A subscribed frame gives a seq for each account. The subscriber then receives exactly the events
// with a higher seq that pass its filter: each event once, in order. If old events are no longer
// available, the subscriber receives a resync frame with the current balance, and the same
// guarantee holds from its seq on. If neither history nor balance is available, the feed sends
// nothing and retries. After Config.RetryFor it closes the connection with 1011.
//
// The hub assumes only one thing about the calls of Deliver: one goroutine at a time delivers the
// entries of an account. The hub drops a seq that it has seen before, and fills a gap from the
// History before it sends a later event. If the tail loses the newest entries of an account, the
// hub notices it with the account's next event. Call Recheck when the tail may have lost entries,
// and ForgetMemory before it when the streams may be others than before.
//
// Subscriptions to ["*"] are live only. They receive the first delivery of each event with the full
// payload. Gaps are not filled. A consumer that needs every event reads the streams with a consumer
// group.
//
// # How a feed catches up
//
// A feed is one account of one subscription. It is either catching up or live. While it catches up,
// deliveries are not queued for it. They are in the memory of recent events, which the feed reads
// under the same lock that Deliver uses. The feed becomes live under that lock when it has read
// everything. There is therefore no second buffer that can overflow, and no event is lost between
// the two states. If the memory is too small, the feed reads the history again.
//
// # Slow clients
//
// Each client has a bounded send queue (Config.QueueEvents, Config.QueueBytes). When the queue is
// full, it is dropped and the connection is closed with 4413. The client resumes with after.
// Replays proceed at the pace of the client and never fill the queue. A write that takes longer
// than Config.WriteTimeout also closes the connection.
//
// Deliver only queues frames and never waits. A few loops write as much as each socket accepts at
// once. If a socket does not accept everything, a goroutine of that connection writes the rest. Up
// to 16 frames share a message. Frames that are delivered while a loop writes are written in its
// next pass, so writes become larger under load (internal/netconn/loop.go).
//
// # Details of the protocol
//
//   - Without after, recovered is false and seq is the seq of the snapshot.
//   - An after that is newer than all events of this gateway is checked with the ledger, because
//     another gateway may have been ahead. It is a resync only if the ledger does not have that seq
//     or does not answer.
//   - An account whose events never happened, because the ledger went back, gets a resync with the
//     reason history_changed if the client was shown one of them. If the filter dropped all of them,
//     the subscription continues with the events that replace them. Only the ledger decides this:
//     while it does not answer, the feed waits.
//   - A gateway remembers the accounts that went back, up to a limit, so that a client that resumes
//     without a chain after a later event is told too. The resync has the ledger's balance: Redis
//     may be behind what another gateway has shown.
//   - A replay of more than Config.MaxReplay events is a resync.
//   - An event that lacks a field never passes a filter on that field. With minAmount, no event
//     without an amount passes.
//   - An empty list is refused; omit it to match everything. Unknown fields, fields of other ops,
//     null and duplicate names are refused. Accounts that are named twice count once.
//   - Only frames that are not JSON objects, nest too deep or have an unknown op count towards 4400.
//     The fifth closes the connection without an error frame. Refused subscriptions do not count.
//   - Client messages may contain several frames, separated by any white space.
//   - Before authentication, a message that does not begin with an auth frame closes the connection
//     with 4401, and no parser sees it if it is too large or nests. A bad token in a renewal closes
//     with 4401, too. A renewal with another sub gets the error forbidden. A renewal whose token
//     covers fewer accounts ends the subscriptions that it does not cover: the error forbidden,
//     then unsubscribed.
//   - A connection ends when its token expires, without the leeway that a new token is granted. A
//     connection whose token was accepted within the leeway lasts 30 s.
//   - A connection counts towards the limit of the accounts that its token names, not of the
//     accounts that it subscribes to. Beyond the limit the response is HTTP 429 if the token is in
//     the header, and close code 4429 otherwise.
//   - A client that offers no subprotocol is accepted. A client that offers only other subprotocols
//     is refused with 400.
//   - The text of a close frame is the reason in docs/protocol.md. For 4410 the administrator's
//     reason follows it. For 4408 it is message_timeout when a message is not completed in time.
//     For 1002 it names the violation.
//   - WebSocket pings and pongs of the client count as frames.
//   - A stream of server-sent events is one subscription named wallet. Its last frame is closed,
//     with the close code that a WebSocket client would receive.
package ws
