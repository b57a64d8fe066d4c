// Package play plays scenarios: it is the server and the app of a client, and compares both sides
// with the expectations of the scenario.
package play

import (
	"context"
	"fmt"
	"math"
	"strings"
	"time"

	"github.com/redroomrewards/realtime/clients/scenarios/internal/adapter"
	"github.com/redroomrewards/realtime/clients/scenarios/internal/contract"
	"github.com/redroomrewards/realtime/clients/scenarios/internal/match"
	"github.com/redroomrewards/realtime/clients/scenarios/internal/script"
	"github.com/redroomrewards/realtime/clients/scenarios/internal/server"
)

// maxRounds bounds how often a client may react before it is quiet.
const maxRounds = 100

// A Failure is a scenario that the client does not pass.
type Failure struct {
	Scenario   script.Scenario
	Step       int // begins at 1
	Err        error
	Transcript string
}

func (f *Failure) Error() string {
	where := "at the end"
	if f.Step <= len(f.Scenario.Steps) {
		where = fmt.Sprintf("step %d: %s", f.Step, f.Scenario.Steps[f.Step-1].Source)
	}
	return fmt.Sprintf("%s: %s\n%s\n%v\n\ntranscript:\n%s", f.Scenario.File, f.Scenario.Name, where, f.Err, f.Transcript)
}

// A player plays one scenario.
type player struct {
	adapter *adapter.Adapter
	server  *server.Server
	inbox   *inbox
	log     *transcript
	vars    match.Vars
	wait    time.Duration // for everything that must happen

	conns  map[string]*server.Conn
	newest string  // the name of the newest connection
	now    float64 // virtual milliseconds since the beginning
}

// Run plays a scenario with an adapter. wait bounds how long it waits for everything that must
// happen. It returns the transcript, and a *Failure if the client does not pass.
func Run(s script.Scenario, a *adapter.Adapter, wait time.Duration) (string, error) {
	p := &player{
		adapter: a, inbox: newInbox(), log: &transcript{}, vars: match.Vars{}, wait: wait,
		conns: map[string]*server.Conn{},
	}
	gateway, err := server.Start(p.hearClient)
	if err != nil {
		return "", err
	}
	p.server = gateway
	defer gateway.Stop()
	defer a.Listen(func(map[string]any) {})
	step, err := p.playAll(s)
	if err != nil {
		return p.log.text(), &Failure{Scenario: s, Step: step, Err: err, Transcript: p.log.text()}
	}
	return p.log.text(), nil
}

func (p *player) playAll(s script.Scenario) (step int, err error) {
	if err := p.command(map[string]any{"do": "reset", "url": p.server.URL}); err != nil {
		return 1, err
	}
	p.adapter.Listen(p.hearApp) // earlier reports belong to the scenario before
	for i, step := range s.Steps {
		p.log.add("step %d  %.160s", i+1, step.Source)
		if err := p.play(step); err != nil {
			return i + 1, err
		}
	}
	return len(s.Steps) + 1, p.playQuiet()
}

func (p *player) play(s script.Step) error {
	switch s.Verb {
	case "app":
		return p.playApp(s.Value)
	case "advance", "sleep":
		return p.playTime(s.Verb, s.Value)
	case "time":
		return p.compareTime(s.Value)
	case "see":
		return p.playSee(s.Value)
	case "get":
		return p.playGet(s.Value)
	case "stored":
		return p.playStored(s.Value)
	case "quiet":
		return p.playQuiet()
	case "accept", "hang", "stream":
		return p.playOpen(s)
	case "refuse":
		return p.playRefuse(s.Value)
	case "cut":
		return p.playCut(s.Value)
	}
	name := s.On
	if name == "" {
		name = p.newest
	}
	conn, ok := p.conns[name]
	if !ok {
		return fmt.Errorf("the connection %q must exist", name)
	}
	return p.playConn(conn, s)
}

// hearClient and hearApp run in the goroutines of the server and of the adapter.

func (p *player) hearClient(n server.Note) {
	switch {
	case n.Request != nil:
		p.log.add("        server < %s %s", n.Request.Method, n.Request.URL)
	case n.Closed != nil:
		p.log.add("        server < the client closed the connection %s", match.Text(n.Closed))
	default:
		p.log.add("        server < %s", match.Text(n.Frame))
		if err := contract.CheckClientFrame(n.Frame); err != nil {
			p.inbox.fail(fmt.Errorf("the frame %s must follow docs/asyncapi.json: %w", match.Text(n.Frame), err))
		}
	}
	p.inbox.addNote(n)
}

func (p *player) hearApp(report map[string]any) {
	p.log.add("        app    < %s", match.Text(report))
	if report["report"] == "log" {
		return
	}
	p.inbox.addReport(report)
}

func (p *player) context() (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.Background(), p.wait)
}

func (p *player) command(c map[string]any) error {
	_, err := p.adapter.Send(c, p.wait)
	return err
}

func (p *player) playApp(value any) error {
	command, ok := value.(map[string]any)
	if !ok || command["do"] == nil {
		return fmt.Errorf("a command must be an object with \"do\"")
	}
	filled, err := match.Fill(command, p.vars)
	if err != nil {
		return err
	}
	return p.command(filled.(map[string]any))
}

// playTime lets the virtual time pass after everything has settled.
func (p *player) playTime(verb string, value any) error {
	if err := p.playQuiet(); err != nil {
		return err
	}
	ms, isNumber := value.(float64)
	if !isNumber {
		if value != "retry" {
			return fmt.Errorf("a time must be milliseconds or \"retry\"")
		}
		_, state := p.inbox.state(channel{"state", "a"})
		if state["name"] != "waiting" {
			return fmt.Errorf("the client must be waiting, and its state is %s", match.Text(state))
		}
		retryIn, ok := state["retryInMs"].(float64)
		if !ok {
			return fmt.Errorf("a waiting state must have retryInMs: %s", match.Text(state))
		}
		ms = math.Ceil(retryIn)
	}
	p.now += ms
	return p.command(map[string]any{"do": verb, "ms": ms})
}

func (p *player) compareTime(value any) error {
	bounds, _ := value.(map[string]any)
	least, _ := bounds["min"].(float64)
	most, hasMost := bounds["max"].(float64)
	if p.now < least || hasMost && p.now > most {
		return fmt.Errorf("the virtual time must be within %s ms, and is %v ms", match.Text(value), p.now)
	}
	return nil
}

// playQuiet lets everything settle. Nothing that no step has taken may be left over.
func (p *player) playQuiet() error {
	if err := p.settle(); err != nil {
		return err
	}
	left := p.inbox.leftOver(p.nameOf)
	if len(left) > 0 {
		return fmt.Errorf("unexpected:\n  %s", strings.Join(left, "\n  "))
	}
	return nil
}

// settle repeats until nothing new happens: the client has read all messages, and has done all that
// it does because of them.
func (p *player) settle() error {
	for range maxRounds {
		before, _ := p.inbox.state(channel{})
		p.pingConns() // then the client has read everything
		if err := p.command(map[string]any{"do": "sync"}); err != nil {
			return err
		}
		p.pingConns() // then the server has read everything
		after, _ := p.inbox.state(channel{})
		if before == after {
			return nil
		}
	}
	return fmt.Errorf("the client is not quiet after %d rounds", maxRounds)
}

func (p *player) pingConns() {
	for _, conn := range p.conns {
		conn.Settle(p.wait)
	}
}

func (p *player) nameOf(conn *server.Conn) string {
	for name, c := range p.conns {
		if c == conn {
			return name
		}
	}
	return "a connection"
}

func (p *player) playGet(value any) error {
	get, _ := value.(map[string]any)
	answer, err := p.adapter.Send(map[string]any{"do": "get", "as": get["as"]}, p.wait)
	if err != nil {
		return err
	}
	return match.Compare(get["is"], answer["value"], p.vars)
}

func (p *player) playStored(value any) error {
	answer, err := p.adapter.Send(map[string]any{"do": "stored"}, p.wait)
	if err != nil {
		return err
	}
	return match.Compare(value, answer["records"], p.vars)
}
