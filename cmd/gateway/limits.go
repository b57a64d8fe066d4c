package main

import (
	"github.com/redroomrewards/realtime/internal/cli"
	"github.com/redroomrewards/realtime/pkg/ws"
)

// limitFlags bound what clients may do. Their defaults are those of the contract.
type limitFlags struct {
	MaxConnections           int `default:"100000" help:"Largest number of open connections. Further ones get 503." group:"Limits"`
	MaxConnectionsPerAccount int `default:"64" help:"Largest number of open connections whose tokens name the same account. Further ones get 429 or close code 4429." group:"Limits"`
	MaxConnectionsPerAddress int `default:"1024" help:"Largest number of open connections from one address, or from one IPv6 network of 64 bits. Further ones get 429. Loopback addresses are not limited. Behind a proxy, set --trusted-proxies." group:"Limits"`
	AcceptRate               int `default:"10000" help:"Largest number of new connections a second. Further ones get 503." group:"Limits"`
	MaxSubscriptions         int `default:"32" help:"Largest number of subscriptions of a connection. Further ones get too_many_subscriptions." group:"Limits"`
	MaxAccounts              int `default:"64" help:"Largest number of accounts in a subscription. A longer list gets bad_request." group:"Limits"`
	MaxFilterValues          int `default:"32" help:"Largest number of values in each list of a filter. A longer list gets bad_request." group:"Limits"`
	MaxFrameBytes            int `default:"16384" help:"Largest message from a client, in bytes. A larger one closes the connection with 1009." group:"Limits"`
	FrameRate                int `default:"20" help:"Frames that a client may send a second. More close the connection with 4429." group:"Limits"`
	FrameBurst               int `default:"40" help:"Frames that a client may send at once." group:"Limits"`
	QueueEvents              int `default:"1024" help:"Largest number of frames in a client's send queue, at least 128. A full queue closes the connection with 4413." group:"Limits"`
	QueueBytes               int `default:"1048576" help:"Largest size of a client's send queue in bytes, at least 65536. A full queue closes the connection with 4413." group:"Limits"`
	MaxReplay                int `default:"10000" help:"Largest number of an account's events that a reconnecting client gets. Beyond, it gets resync." group:"Limits"`
	MemoryEvents             int `default:"131072" help:"Number of recent events kept in memory, from which clients resume." group:"Limits"`
	MemoryBytes              int `default:"134217728" help:"Approximate size of the recent events kept in memory, in bytes." group:"Limits"`
}

// A send queue must have room for the frames of one step and for the largest frame.
const (
	minQueueEvents = 128
	minQueueBytes  = 64 << 10
)

// validateLimits requires that each limit is large enough.
func (f limitFlags) validateLimits() error {
	for _, limit := range []struct {
		flag  string
		value int
		least int
	}{
		{"--max-connections", f.MaxConnections, 1},
		{"--max-connections-per-account", f.MaxConnectionsPerAccount, 1},
		{"--max-connections-per-address", f.MaxConnectionsPerAddress, 1},
		{"--accept-rate", f.AcceptRate, 1},
		{"--max-subscriptions", f.MaxSubscriptions, 1},
		{"--max-accounts", f.MaxAccounts, 1},
		{"--max-filter-values", f.MaxFilterValues, 1},
		{"--max-frame-bytes", f.MaxFrameBytes, 1},
		{"--frame-rate", f.FrameRate, 1},
		{"--frame-burst", f.FrameBurst, 1},
		{"--queue-events", f.QueueEvents, minQueueEvents},
		{"--queue-bytes", f.QueueBytes, minQueueBytes},
		{"--max-replay", f.MaxReplay, 1},
		{"--memory-events", f.MemoryEvents, 1},
		{"--memory-bytes", f.MemoryBytes, 1},
	} {
		if limit.value < limit.least {
			return cli.Usage(limit.flag, "must be at least %d, got %d", limit.least, limit.value)
		}
	}
	return nil
}

// hubConfig returns the limits in the form that the hub takes.
func (f limitFlags) hubConfig() ws.Config {
	return ws.Config{
		MaxConnections:           f.MaxConnections,
		MaxConnectionsPerAccount: f.MaxConnectionsPerAccount,
		MaxConnectionsPerAddress: f.MaxConnectionsPerAddress,
		AcceptRate:               f.AcceptRate,
		MaxSubscriptions:         f.MaxSubscriptions,
		MaxAccounts:              f.MaxAccounts,
		MaxFilterValues:          f.MaxFilterValues,
		MaxFrameBytes:            f.MaxFrameBytes,
		FrameRate:                f.FrameRate,
		FrameBurst:               f.FrameBurst,
		QueueEvents:              f.QueueEvents,
		QueueBytes:               f.QueueBytes,
		MaxReplay:                f.MaxReplay,
		MemoryEvents:             f.MemoryEvents,
		MemoryBytes:              f.MemoryBytes,
	}
}
