package chaos

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"time"
)

// fault is one thing that goes wrong. Its functions are called by the test's goroutine.
type fault struct {
	kind   string
	target string // two faults of one target never overlap
	hold   time.Duration
	inject func()
	heal   func() // nil: the fault needs no end

	// restore makes the fault possible again, after the recovery was measured. A burst has at most
	// one fault that needs it.
	restore func()
}

func (f *fault) String() string { return fmt.Sprintf("%s: %s for %s", f.kind, f.target, f.hold) }

// faultKind makes faults of one kind.
type faultKind struct {
	name    string
	isSmall bool // can happen many times a second
	minHold time.Duration
	maxHold time.Duration
	plan    func(e *episode, r *rand.Rand) fault
}

// newFault draws a fault of the kind. The same draws give the same fault.
func (k *faultKind) newFault(e *episode, r *rand.Rand) *fault {
	hold := k.minHold
	if k.maxHold > k.minHold {
		hold += time.Duration(r.Int64N(int64(k.maxHold - k.minHold)))
	}
	f := k.plan(e, r)
	f.kind = k.name
	f.hold = hold.Round(time.Millisecond)
	return &f
}

// processFaults are the faults of the programs.
func processFaults() []*faultKind {
	const second = time.Second
	return []*faultKind{
		{name: "kill a core", maxHold: second, plan: func(e *episode, r *rand.Rand) fault {
			return killFault(pickProgram(r, e.w.cores))
		}},
		{name: "kill a gateway", maxHold: second, plan: func(e *episode, r *rand.Rand) fault {
			return killFault(pickProgram(r, e.w.gateways))
		}},
		{name: "suspend a core", minHold: second / 10, maxHold: 3 * second, plan: func(e *episode, r *rand.Rand) fault {
			return suspendFault(pickProgram(r, e.w.cores))
		}},
		{name: "suspend a gateway", minHold: second / 10, maxHold: 3 * second, plan: func(e *episode, r *rand.Rand) fault {
			return suspendFault(pickProgram(r, e.w.gateways))
		}},
		{name: "stop a core", maxHold: second, plan: func(e *episode, r *rand.Rand) fault {
			p := pickProgram(r, e.w.cores)
			return fault{target: p.name, inject: p.terminate, heal: p.start}
		}},
		{name: "stop a gateway", maxHold: second, plan: func(e *episode, r *rand.Rand) fault {
			p := pickProgram(r, e.w.gateways)
			return fault{target: p.name, inject: p.terminate, heal: p.start}
		}},
		{name: "drain a gateway", minHold: second, maxHold: 2 * second, plan: func(e *episode, r *rand.Rand) fault {
			p := pickProgram(r, e.w.gateways)
			heal := func() {
				p.terminate()
				p.start()
			}
			return fault{target: p.name, inject: func() { e.callAdmin(p, "/admin/drain", nil) }, heal: heal}
		}},
		{name: "disconnect clients", isSmall: true, plan: func(e *episode, r *rand.Rand) fault {
			p := pickProgram(r, e.w.gateways)
			accounts := e.load.accounts()
			body := object{"account": accounts[r.IntN(len(accounts))], "reason": "chaos"}
			return fault{target: "clients of " + p.name, inject: func() { e.callAdmin(p, "/admin/disconnect", body) }}
		}},
	}
}

func pickProgram(r *rand.Rand, list []*program) *program { return list[r.IntN(len(list))] }

func killFault(p *program) fault { return fault{target: p.name, inject: p.kill, heal: p.start} }

func suspendFault(p *program) fault { return fault{target: p.name, inject: p.suspend, heal: p.resume} }

// callAdmin calls the admin API of a gateway. Under other faults it may fail.
func (e *episode) callAdmin(p *program, path string, body object) {
	payload := &bytes.Buffer{}
	if body != nil {
		_ = json.NewEncoder(payload).Encode(body) // it has only texts
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	status, answer := e.w.do(ctx, http.MethodPost, "http://"+p.admin+path, e.w.adminToken(), payload)
	if status != http.StatusOK {
		e.w.journal.note("POST %s at %s: got %d %.100s", path, p.name, status, answer)
	}
}
