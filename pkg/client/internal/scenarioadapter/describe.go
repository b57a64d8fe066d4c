package main

import (
	"errors"
	"time"

	"github.com/redroomrewards/realtime/pkg/client"
)

// describeState returns the report of a state of the connection.
func describeState(name string, s client.State, now time.Time) object {
	o := object{"report": "state", "client": name, "name": s.Name}
	if s.Err != nil {
		o["error"] = describeError(s.Err)
	}
	switch s.Name {
	case client.StateWaiting:
		o["retryInMs"] = milliseconds(s.RetryAt.Sub(now))
	case client.StateClosed:
		o["reason"] = errorCode(s.Err)
	}
	return o
}

func milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

func describeError(err error) object {
	message := err.Error()
	var failure *client.Error
	if errors.As(err, &failure) {
		message = failure.Message
	}
	return object{"code": errorCode(err), "message": message}
}

// errorCode returns the code of an error.
func errorCode(err error) string {
	var failure *client.Error
	switch {
	case errors.As(err, &failure):
		return string(failure.Code)
	case errors.Is(err, client.ErrUnauthorized):
		return string(client.ErrUnauthorized)
	case errors.Is(err, client.ErrClosed):
		return "closed"
	case errors.Is(err, client.ErrUserSwitched):
		return "user_switched"
	default:
		return "other"
	}
}

// describeBalance returns the value of a balance.
func describeBalance(s *client.BalanceState, now time.Time) object {
	o := object{"status": s.Status}
	switch s.Status {
	case client.BalanceLoading:
		return o
	case client.BalanceFailed:
		o["error"] = describeError(s.Err)
		return o
	case client.BalanceStale:
		o["staleForMs"] = milliseconds(now.Sub(s.StaleSince))
	}
	o["account"] = s.Account
	o["seq"] = s.Seq
	o["chain"] = s.Chain
	if s.IsModel() {
		o["earned"] = s.Earned
		return o
	}
	o["available"] = s.Available
	o["escrow"] = s.Escrow
	return o
}

// describeItem returns the report of an item of a subscription.
func describeItem(as string, item *client.Item) object {
	o := object{"as": as, "account": item.Account, "seq": item.Seq, "chain": item.Chain}
	if item.Resync == nil {
		o["report"] = "event"
		o["event"] = item.JSON
		return o
	}
	o["report"] = "resync"
	o["reason"] = item.Resync.Reason
	return o
}
