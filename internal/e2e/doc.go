// Package e2e tests the programs as they are shipped: it builds core and gateway, starts them as processes against real
// Postgres and Redis, and drives them over HTTP and WebSocket while it kills, stops and cuts off what they need.
//
// Nothing here knows more of the programs than their command lines and what they promise to other programs. The client
// is a small model of a real one: it remembers the last seq of each account, resumes with it wherever it can connect,
// and fails its test at any event that is missing, comes twice or does not follow from the balance before it.
package e2e
