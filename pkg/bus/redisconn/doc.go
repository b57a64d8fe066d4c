// Package redisconn opens Redis clients (single server, Sentinel, Cluster, TLS) and answers two
// questions about the server behind them: is it still the same one (ParseRunID, RunIDs), and does it
// spread accounts over as many streams as this process (CheckLayout, Watch). Every call has a time
// limit at the socket.
package redisconn
