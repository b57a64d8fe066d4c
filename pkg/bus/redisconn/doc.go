// Package redisconn opens Redis clients for a single server, Sentinel, Cluster and TLS. It also
// finds out whether Redis is still the same server (ParseRunID, RunIDs), and whether it has the
// same layout as this process (CheckLayout, Watch). Every call has a timeout at the
// socket.
package redisconn
