// Package protocol reads and writes the frames of the protocol wallet.v1, its close codes and its
// form as server-sent events. It holds no connection state.
package protocol
