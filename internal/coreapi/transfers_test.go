package coreapi

import (
	"errors"
	"testing"

	dto "github.com/prometheus/client_model/go"
)

// transferTest is a bound of 100 bytes.
type transferTest struct {
	*testing.T
	transfers *transfers
}

func newTransferTest(t *testing.T) *transferTest {
	return &transferTest{
		T:         t,
		transfers: newTransfers(100, newMetrics(nil)),
	}
}

// begin begins a transfer. aborted becomes true when it is aborted.
func (b *transferTest) begin(subject string, size int) (tr *transfer, aborted *bool) {
	b.Helper()
	aborted = new(bool)
	tr, err := b.transfers.begin(subject, size, func() { *aborted = true })
	if err != nil {
		b.Fatalf("%s: got error %v, want none", subject, err)
	}
	return tr, aborted
}

func (b *transferTest) checkTotal(want int) {
	b.Helper()
	if b.transfers.total != want {
		b.Errorf("got %d bytes, want %d", b.transfers.total, want)
	}
	var gauge dto.Metric
	err := b.transfers.bytes.Write(&gauge)
	if err != nil {
		b.Fatal(err)
	}
	if got := gauge.GetGauge().GetValue(); got != float64(want) {
		b.Errorf("got a gauge of %v, want %d", got, want)
	}
}

func TestClientWithMostBytesIsRefused(t *testing.T) {
	b := newTransferTest(t)
	first, aborted := b.begin("a", 60)
	b.begin("b", 30)
	_, err := b.transfers.begin("a", 20, nil)
	if !errors.Is(err, errTooManyBytes) {
		t.Errorf("got error %v, want %v", err, errTooManyBytes)
	}
	if *aborted {
		t.Error("the client's own transfer was aborted")
	}
	b.checkTotal(90)

	b.transfers.end(first)
	b.begin("a", 20)
	b.checkTotal(50)
}

func TestClientWithMostBytesLosesItsOldest(t *testing.T) {
	b := newTransferTest(t)
	oldest, oldestAborted := b.begin("a", 40)
	_, newerAborted := b.begin("a", 40)
	_, otherAborted := b.begin("b", 15)
	b.begin("c", 30)
	if !*oldestAborted || *newerAborted || *otherAborted {
		t.Errorf("got aborted: oldest %v, newer %v, other %v, want only the oldest",
			*oldestAborted, *newerAborted, *otherAborted)
	}
	b.transfers.end(oldest) // has no effect
	b.checkTotal(85)
}

// A request that is being committed cannot be aborted, and its answer cannot be refused.
func TestCommittedRequestIsKept(t *testing.T) {
	b := newTransferTest(t)
	pinned, aborted := b.begin("a", 90)
	if !b.transfers.pin(pinned) {
		t.Error("the transfer was aborted")
	}
	_, err := b.transfers.begin("b", 20, nil)
	if !errors.Is(err, errTooManyBytes) || *aborted {
		t.Errorf("got error %v, aborted %v, want %v, false", err, *aborted, errTooManyBytes)
	}

	b.transfers.end(pinned)
	forced := b.transfers.force("a", 150, func() {})
	b.checkTotal(150)
	b.begin("b", 20) // the answer can be aborted, because a retry returns it
	if b.transfers.pin(forced) {
		t.Error("the answer was not aborted")
	}
	b.checkTotal(20)
}

func TestClientsWithoutTransfersAreForgotten(t *testing.T) {
	b := newTransferTest(t)
	tr, _ := b.begin("a", 60)
	b.transfers.end(tr)
	b.checkTotal(0)
	if n := len(b.transfers.clients); n != 0 {
		t.Errorf("got %d clients, want 0", n)
	}
}
