// Package redisconn opens Redis clients for a single server, Sentinel, Cluster and TLS. It also
// finds out whether Redis is still the same server (ParseRunID, RunIDs), and whether it has the
// same layout as this process (CheckLayout, Watch). Every call has a timeout at the socket. The
// client of a cluster reads the map of slots every second, and as soon as a node redirects a call or
// does not answer.
package redisconn
