package wallet

import (
	"errors"

	"github.com/prometheus/client_golang/prometheus"
)

// metrics is what the ledger counts. Without a registerer nobody reads it.
type metrics struct {
	operations    *prometheus.CounterVec
	batchSize     prometheus.Histogram
	commitSeconds prometheus.Histogram
	locked        prometheus.Counter
	retries       prometheus.Counter
	split         prometheus.Counter
	overloaded    prometheus.Counter
}

// commitBuckets are finest from 1 to 100 ms, which a commit takes. A batch is given up after 10 s.
var commitBuckets = []float64{
	.0005, .001, .0015, .002, .003, .005, .0075, .01, .015, .025, .04, .06, .1, .25, .5, 1, 2.5, 5, 10,
}

func newMetrics(reg prometheus.Registerer, queued func() float64) *metrics {
	m := &metrics{
		operations: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "ledger_operations_total", Help: "Operations that were answered, by kind and result.",
		}, []string{"operation", "result"}),
		batchSize: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "ledger_commit_batch_size", Help: "Operations in a commit.", Buckets: prometheus.ExponentialBuckets(1, 2, 11),
		}),
		commitSeconds: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "ledger_commit_seconds", Help: "Time from begin to commit of a batch.", Buckets: commitBuckets,
		}),
		locked: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "ledger_commit_locked_total", Help: "Tries of a batch that locked its accounts and looked its keys up first.",
		}),
		retries: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "ledger_commit_retries_total", Help: "Tries of a batch that failed and were repeated.",
		}),
		split: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "ledger_commit_splits_total", Help: "Batches that were halved to find an operation that breaks them.",
		}),
		overloaded: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "ledger_overloaded_total", Help: "Operations refused because the queue was full.",
		}),
	}
	queueLength := prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "ledger_queue_length", Help: "Operations that wait for a commit.",
	}, queued)
	if reg != nil {
		reg.MustRegister(m.operations, m.batchSize, m.commitSeconds, m.locked, m.retries, m.split, m.overloaded, queueLength)
	}
	return m
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
