package wallet

import (
	"errors"

	"github.com/prometheus/client_golang/prometheus"
)

// metrics holds the ledger's metrics. Without a registerer they are counted but not exported.
type metrics struct {
	operations    *prometheus.CounterVec
	batchSize     prometheus.Histogram
	commitSeconds prometheus.Histogram
	locked        prometheus.Counter
	retries       prometheus.Counter
	splits        prometheus.Counter
	overloaded    prometheus.Counter
	lastSuccess   *prometheus.GaugeVec // by loop
}

// The values of the label loop.
const (
	loopEscrowExpiry = "escrow_expiry"
	loopKeyDeletion  = "key_deletion"
)

// noteSuccess records that a loop has just succeeded.
func (m *metrics) noteSuccess(loop string) { m.lastSuccess.WithLabelValues(loop).SetToCurrentTime() }

// commitBuckets are finest from 1 to 100 ms, the usual duration of a commit. A batch fails after
// 10 s.
var commitBuckets = []float64{
	.0005, .001, .0015, .002, .003, .005, .0075, .01, .015, .025, .04, .06, .1, .25, .5, 1, 2.5, 5, 10,
}

// newMetrics creates the metrics and registers them unless reg is nil.
func newMetrics(reg prometheus.Registerer, queueLength, longestCommit func() float64) *metrics {
	m := &metrics{
		operations: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "realtime_ledger_operations_total",
			Help: "Operations by type and result.",
		}, []string{"operation", "result"}),
		batchSize: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name:    "realtime_ledger_commit_batch_size",
			Help:    "Operations per commit.",
			Buckets: prometheus.ExponentialBuckets(1, 2, 11),
		}),
		commitSeconds: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name:    "realtime_ledger_commit_seconds",
			Help:    "Duration of a batch's transaction, from begin to commit.",
			Buckets: commitBuckets,
		}),
		locked: newCounter("realtime_ledger_commit_locked_total",
			"Attempts to commit a batch that locked its accounts and read its idempotency keys first."),
		retries: newCounter("realtime_ledger_commit_retries_total",
			"Attempts to commit a batch that failed and were retried."),
		splits: newCounter("realtime_ledger_commit_splits_total",
			"Batches that were split in half to isolate a failing operation."),
		overloaded: newCounter("realtime_ledger_overloaded_total",
			"Operations rejected because the queue was full."),
		lastSuccess: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "realtime_ledger_loop_last_success_timestamp_seconds",
			Help: "When each background loop of the ledger last succeeded, in seconds since 1970.",
		}, []string{"loop"}),
	}

	queueGauge := prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "realtime_ledger_queue_length",
		Help: "Operations that wait for a commit.",
	}, queueLength)

	longestGauge := prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "realtime_ledger_commit_running_seconds",
		Help: "For how long the oldest running commit has run; 0: none runs.",
	}, longestCommit)

	if reg != nil {
		reg.MustRegister(m.operations, m.batchSize, m.commitSeconds, m.locked, m.retries, m.splits, m.overloaded,
			queueGauge, longestGauge, m.lastSuccess)
	}

	return m
}

func newCounter(name, help string) prometheus.Counter {
	return prometheus.NewCounter(prometheus.CounterOpts{
		Name: name,
		Help: help,
	})
}

func (m *metrics) countResult(op *Op, res *result) {
	m.operations.WithLabelValues(string(op.Operation), resultLabel(res)).Inc()
}

func resultLabel(res *result) string {
	err := res.err
	switch {
	case err == nil && res.receipt.Replayed:
		return "replayed"
	case err == nil:
		return "done"
	case errors.Is(err, ErrInsufficientFunds):
		return "insufficient_funds"
	case errors.Is(err, ErrAccountNotFound), errors.Is(err, ErrEscrowNotFound):
		return "not_found"
	case errors.Is(err, ErrEscrowProcessed):
		return "escrow_already_processed"
	case errors.Is(err, ErrAmountMismatch):
		return "amount_mismatch"
	case errors.Is(err, ErrKeyReused):
		return "idempotency_key_reused"
	case errors.Is(err, ErrInvalid):
		return "invalid_request"
	case errors.Is(err, ErrUnavailable):
		return "unavailable"
	}

	return "failed"
}
