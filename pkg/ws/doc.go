// Package ws carries balance events from the bus to apps, over the WebSocket
// protocol wallet.v1 (docs/protocol.md is its page for app developers) and as
// server-sent events.
//
// # What a subscriber gets
//
// For each account a subscribed frame tells a seq. The events that follow are
// exactly those with a higher seq that pass the filter: none missing, none twice,
// in order. When that cannot be kept, because history that far back cannot be had,
// a resync frame says so, brings the state, and the same promise goes on from its
// seq. There is no third case: a feed that can get neither history nor state sends
// nothing, tries again, and closes the connection in the end (1011, after
// Config.RetryFor).
//
// The hub does not trust the order or completeness of what Deliver is given beyond
// this: for one account entries come from one goroutine at a time. A seq seen before
// is dropped, a hole is filled from the History before anything later is shown. What
// the tail never passes on cannot be missed before the account's next event; call
// Recheck when the tail may have lost entries.
//
// Subscriptions to ["*"] are live only. They get each event's first delivery and
// the full payload, and no promise about holes: a consumer that needs every event
// reads the streams with a consumer group.
//
// # How a feed catches up
//
// A feed (one account of one subscription) is catching up or live. While it catches up,
// deliveries are not queued for it: they are in the memory of recent events, which
// it reads under the same lock that deliveries take. It becomes live under that
// lock at the moment when nothing is left to read, so there is no second buffer
// that could overflow and no event between the two states. Memory too small for what
// came meanwhile only means that the history is asked again.
//
// # What a slow reader gets
//
// Each client has a bounded queue (Config.QueueEvents, Config.QueueBytes). When it is
// full, it is thrown away and the connection is closed with 4413; the client resumes
// with after. Replays go at the client's pace and never fill the queue. A write that
// takes longer than Config.WriteTimeout closes too. Nobody waits for a slow client:
// Deliver only queues; a few loops write what sockets take at once; what they do not
// goes to a goroutine of that connection alone. Frames are joined up to 16 a message,
// and what is delivered while a loop writes is written in its next pass, so that load
// gathers by itself (loop.go).
//
// # Where the contract is silent
//
//   - Without after, recovered is false and seq is the snapshot's.
//   - An after beyond the newest event that this gateway knows is checked with the
//     ledger first: another gateway may have been ahead. Only an after that the ledger
//     does not know either, or that it cannot be asked about, is a resync.
//   - More than Config.MaxReplay events to replay are a resync.
//   - An event that lacks a field never passes a filter on it: minAmount lets no event
//     without an amount pass.
//   - An empty list is refused; leave it out for all. Unknown fields, those of other
//     ops, null and duplicate names are refused. Accounts named twice count once.
//   - Only frames that are no JSON objects or have an unknown op count towards 4400.
//     The fifth closes without an error frame. Refused subscriptions do not count.
//   - Client messages may hold several frames too, separated by any white space.
//   - Before auth, any well-formed frame but auth closes with 4401; so does a bad token
//     in a renewal. A renewal with another sub is an error, forbidden. A renewal whose
//     token covers less ends the subscriptions that it does not cover: error forbidden,
//     then unsubscribed.
//   - A connection ends at its token's exp, without the leeway that is granted when a
//     token comes in; one that came in during the leeway lasts 30 s.
//   - A connection counts for the accounts that its token names, not for those that it
//     subscribes to. Too many of an account: HTTP 429 when the token is in the header,
//     else close 4429.
//   - A client that offers no subprotocol is served; one that offers only others is
//     refused (400).
//   - The reason of a close frame is the word of the contract; of 4410 it is followed by
//     the administrator's reason. 4408 is message_timeout when a message that the client
//     has begun takes too long. Only the library's own 1002 has a text.
//   - WebSocket pings and pongs of the client count as frames.
//   - A stream of server-sent events is one subscription called wallet. Its last frame
//     is closed, with the close code, which WebSocket clients get otherwise.
package ws
