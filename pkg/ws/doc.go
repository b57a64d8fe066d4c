// Package ws is the gateway's WebSocket protocol wallet.v1.
package ws
