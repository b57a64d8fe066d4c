package main

import (
	"github.com/redroomrewards/realtime/internal/cli"
	"github.com/redroomrewards/realtime/pkg/ws"
)

// limitFlags bound what clients may do. Their defaults are the contract's.
type limitFlags struct {
	MaxConnections           int `default:"100000" help:"Open connections of this gateway; beyond: 503." group:"Limits"`
	MaxConnectionsPerAccount int `default:"64" help:"Open connections whose tokens name the same account; beyond: 429, or close 4429." group:"Limits"`
	AcceptRate               int `default:"10000" help:"New connections a second; beyond: 503." group:"Limits"`
	MaxSubscriptions         int `default:"32" help:"Subscriptions of a connection; beyond: too_many_subscriptions." group:"Limits"`
	MaxAccounts              int `default:"64" help:"Accounts of a subscription; beyond: bad_request." group:"Limits"`
	MaxFilterValues          int `default:"32" help:"Values in each list of a filter; beyond: bad_request." group:"Limits"`
	MaxFrameBytes            int `default:"16384" help:"Size of a message from a client; beyond: close 1009." group:"Limits"`
	FrameRate                int `default:"20" help:"Frames a second from a client; beyond: close 4429." group:"Limits"`
	FrameBurst               int `default:"40" help:"Frames at once from a client." group:"Limits"`
	QueueEvents              int `default:"1024" help:"Frames that wait for one client, at least 128; beyond: close 4413." group:"Limits"`
	QueueBytes               int `default:"1048576" help:"Bytes that wait for one client, at least 65536; beyond: close 4413." group:"Limits"`
	MaxReplay                int `default:"10000" help:"Events of an account that a client gets when it comes back; beyond: resync." group:"Limits"`
	MemoryEvents             int `default:"131072" help:"Recent events in memory, from which clients resume." group:"Limits"`
	MemoryBytes              int `default:"134217728" help:"Their size, roughly." group:"Limits"`
}

// A queue has room for the frames of one step and for the largest frame.
const (
	leastQueueEvents = 128
	leastQueueBytes  = 64 << 10
)

// config is the hub's.
func (f limitFlags) config() (ws.Config, error) {
	for flag, l := range map[string]struct{ value, least int }{
		"--max-connections": {f.MaxConnections, 1}, "--max-connections-per-account": {f.MaxConnectionsPerAccount, 1}, "--accept-rate": {f.AcceptRate, 1},
		"--max-subscriptions": {f.MaxSubscriptions, 1}, "--max-accounts": {f.MaxAccounts, 1}, "--max-filter-values": {f.MaxFilterValues, 1},
		"--max-frame-bytes": {f.MaxFrameBytes, 1}, "--frame-rate": {f.FrameRate, 1}, "--frame-burst": {f.FrameBurst, 1},
		"--queue-events": {f.QueueEvents, leastQueueEvents}, "--queue-bytes": {f.QueueBytes, leastQueueBytes},
		"--max-replay": {f.MaxReplay, 1}, "--memory-events": {f.MemoryEvents, 1}, "--memory-bytes": {f.MemoryBytes, 1},
	} {
		if l.value < l.least {
			return ws.Config{}, cli.Usage(flag, "%d is too few, the least is %d", l.value, l.least)
		}
	}
	return ws.Config{
		MaxConnections: f.MaxConnections, MaxConnectionsPerAccount: f.MaxConnectionsPerAccount, AcceptRate: f.AcceptRate,
		MaxSubscriptions: f.MaxSubscriptions, MaxAccounts: f.MaxAccounts, MaxFilterValues: f.MaxFilterValues,
		MaxFrameBytes: f.MaxFrameBytes, FrameRate: f.FrameRate, FrameBurst: f.FrameBurst,
		QueueEvents: f.QueueEvents, QueueBytes: f.QueueBytes, MaxReplay: f.MaxReplay,
		MemoryEvents: f.MemoryEvents, MemoryBytes: f.MemoryBytes,
	}, nil
}
