package coreapi

import (
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// transfers bounds the memory of large requests and answers that are on their way to or from
// clients. A client that does not read its answer keeps it in memory until the write deadline.
//
// The bound is shared fairly: if a new transfer does not fit, the client whose transfers have the
// most bytes loses its oldest ones. If that is the client of the new transfer, the new one is
// refused. So a client that does not read cannot keep others from reading.
type transfers struct {
	maximum int // bytes

	mu      sync.Mutex
	total   int // bytes
	clients map[string]*transferClient

	bytes   prometheus.Gauge
	refused prometheus.Counter
	aborted prometheus.Counter
}

// transferClient has the transfers of one subject of tokens.
type transferClient struct {
	subject string
	total   int         // bytes
	running []*transfer // the oldest first
}

// A transfer is a request or an answer in memory.
type transfer struct {
	client *transferClient // nil: it does not count any longer
	size   int             // bytes
	abort  func()          // ends it at once; nil: it cannot be ended, because it is being committed
}

const (
	// defaultMaxTransfers is the default bound, in bytes. The largest page of events has about 9 MB.
	defaultMaxTransfers = 64 << 20
	// minTransfer is the size below which a transfer does not count. The number of requests bounds
	// the small ones.
	minTransfer = 16 << 10
)

func newTransfers(maximum int, m *metrics) *transfers {
	return &transfers{
		maximum: maximum,
		clients: make(map[string]*transferClient),
		bytes:   m.transferBytes,
		refused: m.transfersEnded.WithLabelValues("refused"),
		aborted: m.transfersEnded.WithLabelValues("aborted"),
	}
}

// begin counts a transfer. It returns errTooManyBytes if there is no room for it.
func (t *transfers) begin(subject string, size int, abort func()) (*transfer, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.makeRoom(subject, size) {
		t.refused.Inc()
		return nil, errTooManyBytes
	}
	return t.add(subject, size, abort), nil
}

// force counts a transfer that cannot be refused: the answer to a write that was committed.
func (t *transfers) force(subject string, size int, abort func()) *transfer {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.makeRoom(subject, size)
	return t.add(subject, size, abort)
}

// pin makes a transfer that cannot be aborted any longer. It reports false if it was aborted.
func (t *transfers) pin(tr *transfer) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	tr.abort = nil
	return tr.client != nil
}

// end ends a transfer.
func (t *transfers) end(tr *transfer) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.remove(tr)
}

// makeRoom aborts transfers of larger clients until size more bytes fit. It reports whether they do.
func (t *transfers) makeRoom(subject string, size int) bool {
	for t.total+size > t.maximum {
		victim := t.chooseVictim(subject, size)
		if victim == nil {
			return false
		}
		t.remove(victim)
		victim.abort()
		t.aborted.Inc()
	}
	return true
}

// chooseVictim returns the oldest transfer of the client that has the most bytes. It returns nil if
// the given client would have more, with size more bytes.
func (t *transfers) chooseVictim(subject string, size int) *transfer {
	most := size
	if own := t.clients[subject]; own != nil {
		most += own.total
	}

	var victim *transfer
	for _, c := range t.clients {
		if c.subject == subject || c.total < most {
			continue
		}
		oldest := c.findOldestAbortable()
		if oldest != nil {
			victim = oldest
			most = c.total
		}
	}
	return victim
}

func (c *transferClient) findOldestAbortable() *transfer {
	for _, tr := range c.running {
		if tr.abort != nil {
			return tr
		}
	}
	return nil
}

func (t *transfers) add(subject string, size int, abort func()) *transfer {
	c := t.clients[subject]
	if c == nil {
		c = &transferClient{subject: subject}
		t.clients[subject] = c
	}

	tr := &transfer{
		client: c,
		size:   size,
		abort:  abort,
	}
	c.running = append(c.running, tr)
	c.total += size
	t.total += size
	t.bytes.Add(float64(size))
	return tr
}

// remove makes a transfer not count any longer.
func (t *transfers) remove(tr *transfer) {
	c := tr.client
	if c == nil {
		return
	}

	tr.client = nil
	i := slices.Index(c.running, tr)
	c.running = slices.Delete(c.running, i, i+1)
	c.total -= tr.size
	t.total -= tr.size
	t.bytes.Sub(float64(tr.size))
	if len(c.running) == 0 {
		delete(t.clients, c.subject)
	}
}

// receiveLarge counts the body of a request if it is large, before it is read.
func (c *call) receiveLarge(size int) error {
	if size < minTransfer {
		return nil
	}

	response := http.NewResponseController(c.w)
	abort := func() { _ = response.SetReadDeadline(time.Unix(1, 0)) }
	tr, err := c.api.transfers.begin(c.claims.Subject, size, abort)
	c.transfer = tr
	return err
}

// finishReceiving ends the time in which the request can be aborted.
func (c *call) finishReceiving() error {
	if c.transfer == nil || c.api.transfers.pin(c.transfer) {
		return nil
	}
	return errTooManyBytes
}

// sendLarge counts an answer if it is large, in place of the request. It can refuse only the answer
// to a read.
func (c *call) sendLarge(size int, isRead bool) error {
	c.endTransfer()
	if size < minTransfer {
		return nil
	}

	response := http.NewResponseController(c.w)
	abort := func() { _ = response.SetWriteDeadline(time.Unix(1, 0)) }
	if !isRead {
		c.transfer = c.api.transfers.force(c.claims.Subject, size, abort)
		return nil
	}
	tr, err := c.api.transfers.begin(c.claims.Subject, size, abort)
	c.transfer = tr
	return err
}

func (c *call) endTransfer() {
	if c.transfer != nil {
		c.api.transfers.end(c.transfer)
		c.transfer = nil
	}
}
