// Package pgconn opens the ledger's connections to Postgres. It owns their sockets, so that the
// time limits hold beneath the driver.
//
//   - Every round trip has a time limit at the socket. The driver waits for an answer in a read
//     that no context ends. If the server is silent for longer, the call returns an error and the
//     connection is closed. Idle connections have no limit.
//   - After a silence, the other connections are not used again either. Each of them would cost its
//     own time limit.
//   - The end of a context closes the connection. No CancelRequest is ever sent, because it would
//     end the wait of a commit for its synchronous standby: the commit would become visible, and a
//     failover would lose it.
//   - BEGIN has no READ WRITE. So the server's default_transaction_read_only holds.
//   - A connection to another database than before is noticed (Server.Generation).
package pgconn
