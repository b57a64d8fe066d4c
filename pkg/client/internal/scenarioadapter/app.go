package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/redroomrewards/realtime/pkg/client"
	"github.com/redroomrewards/realtime/pkg/client/internal/clock"
)

// command is a command of the runner. clients/scenarios/README.md explains its members.
type command struct {
	ID           int    `json:"id"`
	Do           string `json:"do"`
	URL          string `json:"url"`
	Client       string `json:"client"`
	User         string `json:"user"`
	Path         string `json:"path"`
	As           string `json:"as"`
	Account      string `json:"account"`
	Filter       filter `json:"filter"`
	Give         string `json:"give"`
	Fail         string `json:"fail"`
	Unauthorized bool   `json:"unauthorized"`
	Call         int    `json:"call"`
	Ms           int64  `json:"ms"`
}

type filter struct {
	Accounts  []string `json:"accounts"`
	Types     []string `json:"types"`
	Reasons   []string `json:"reasons"`
	Features  []string `json:"features"`
	MinAmount int64    `json:"minAmount"`
}

// app is the application of a scenario: its clock, its clients and the readers of their data.
type app struct {
	write   func(object)
	report  func(object) // ends with the scenario
	silence func()       // ends report
	url     string
	clock   *clock.Manual
	clients map[string]*client.Client
	readers map[string]*reader
	tokens  *tokenCalls
}

// reader is a loop that reports what it reads.
type reader struct {
	stop func()
	get  func() object // the present value of a balance
}

func newApp(write func(object)) *app {
	a := &app{write: write, silence: func() {}}
	a.reset("")
	return a
}

// reset ends what the last scenario left.
func (a *app) reset(url string) {
	for _, r := range a.readers {
		r.stop()
	}
	for _, c := range a.clients {
		c.Close()
	}
	a.silence()
	a.report, a.silence = limitReports(a.write)
	a.url = strings.Replace(url, "http", "ws", 1)
	a.clock = clock.NewManual(time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC))
	clock.Default = a.clock
	a.clients = map[string]*client.Client{}
	a.readers = map[string]*reader{}
	a.tokens = &tokenCalls{report: a.report}
}

// limitReports returns a function that writes reports until silence is called. The goroutines of an
// ended client may still have something to tell, which the next scenario must not get.
func limitReports(write func(object)) (report func(object), silence func()) {
	var mu sync.Mutex
	ended := false
	report = func(o object) {
		mu.Lock()
		defer mu.Unlock()
		if !ended {
			write(o)
		}
	}
	silence = func() {
		mu.Lock()
		defer mu.Unlock()
		ended = true
	}
	return report, silence
}

// run runs a command and returns the members of its answer.
func (a *app) run(c *command) (object, error) {
	if c.Client == "" {
		c.Client = "a"
	}
	answer, err := a.do(c)
	settle()
	return answer, err
}

func (a *app) do(c *command) (object, error) {
	d := time.Duration(c.Ms) * time.Millisecond
	switch c.Do {
	case "reset":
		a.reset(c.URL)
		return nil, nil
	case "advance":
		a.clock.Advance(d, settle)
		return nil, nil
	case "sleep":
		a.clock.Jump(d, settle)
		return nil, nil
	case "sync":
		return nil, nil
	case "create":
		return nil, a.create(c)
	case "token":
		return nil, a.tokens.answer(c)
	case "stop", "get":
		return a.useReader(c)
	default:
		return nil, a.useClient(c)
	}
}

// useReader runs a command about one reader.
func (a *app) useReader(c *command) (object, error) {
	r := a.readers[c.As]
	if r == nil {
		return nil, fmt.Errorf("there is no reader %q", c.As)
	}
	if c.Do == "get" {
		return object{"value": r.get()}, nil
	}
	r.stop()
	return nil, nil
}

// useClient runs a command about one client.
func (a *app) useClient(c *command) error {
	live := a.clients[c.Client]
	if live == nil {
		return fmt.Errorf("there is no client %q", c.Client)
	}
	switch c.Do {
	case "balance":
		a.readers[c.As] = a.readBalance(c.As, live.Balance(c.Account))
	case "subscribe":
		a.readers[c.As] = a.readEvents(c.As, live, c.Filter)
	case "setUser":
		live.SwitchUser(a.tokens.function(c.Client, c.User))
	case "close":
		go live.Close() // it waits for the network
	default:
		return fmt.Errorf("the adapter has no command %q", c.Do)
	}
	return nil
}

// create makes a client and reports its states.
func (a *app) create(c *command) error {
	path := c.Path
	if path == "" {
		path = "/v1/ws"
	}
	user := c.User
	if user == "" {
		user = c.Client
	}
	made, err := client.New(a.url+path, client.Config{
		Token:  a.tokens.function(c.Client, user),
		Logger: slog.New(slog.NewTextHandler(io.Discard, nil)),
	})
	if err != nil {
		return err
	}
	a.clients[c.Client] = made
	now := a.clock.Now
	report := a.report
	go func() {
		for s := range made.States(context.Background()) {
			report(describeState(c.Client, s, now()))
		}
	}()
	return nil
}

// readBalance reports the changes of a balance.
func (a *app) readBalance(as string, b *client.LiveBalance) *reader {
	ctx, cancel := context.WithCancel(context.Background())
	now := a.clock.Now
	report := a.report
	var ended sync.WaitGroup
	ended.Go(func() {
		for s := range b.Changes(ctx) {
			report(object{"report": "balance", "as": as, "value": describeBalance(&s, now())})
		}
	})
	return &reader{
		stop: func() {
			cancel()
			ended.Wait()
			b.Close()
		},
		get: func() object {
			s := b.Get()
			return describeBalance(&s, now())
		},
	}
}

// readEvents reports the items of a subscription.
func (a *app) readEvents(as string, c *client.Client, f filter) *reader {
	ctx, cancel := context.WithCancel(context.Background())
	report := a.report
	reportError := func(err error) {
		report(object{"report": "error", "as": as, "error": describeError(err)})
	}
	events := c.Events(ctx, client.Filter{
		Accounts:  f.Accounts,
		Types:     f.Types,
		Reasons:   f.Reasons,
		Features:  f.Features,
		MinAmount: f.MinAmount,
		OnRetry:   reportError,
	})
	var ended sync.WaitGroup
	ended.Go(func() {
		for item, err := range events {
			switch {
			case errors.Is(err, context.Canceled): // stopped
			case err != nil:
				reportError(err)
			default:
				report(describeItem(as, &item))
			}
		}
	})
	return &reader{
		stop: func() {
			cancel()
			ended.Wait()
		},
		get: func() object { return nil },
	}
}
