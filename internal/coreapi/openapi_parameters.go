package coreapi

import (
	"github.com/redroomrewards/realtime/internal/openapi"
)

// param describes a parameter in the path, the query or a header.
type param = openapi.Param

// requestIDHeader describes the header X-Request-Id of an answer.
func requestIDHeader() param {
	return openapi.Header("The id of the request. Absent if the request had an invalid one.", openapi.Text(""))
}

// replayedHeader describes the header Idempotent-Replayed of an answer.
func replayedHeader() param {
	return openapi.Header("Present if the key was used before. The answer is the first one.", openapi.Choice("true"))
}

var statusSchema = openapi.Choice("held", "settled", "refunded", "partially_settled")

const reasonPattern = `^[a-z][a-z0-9_]{0,63}$`

const exampleID = "01936f5e-7c1a-7b3e-9f00-3a5d8f0c1b2a"

// Parameters in the path.
var (
	accountParam = openapi.AccountParam()
	userParam    = openapi.PathParam("account", "user:<id>",
		openapi.Text(`^user:[A-Za-z0-9][A-Za-z0-9._~@-]{0,127}$`), "user:u1")
	escrowParam = openapi.PathParam("escrowId", "The id of the escrow, from the receipt of the hold",
		openapi.Formatted("uuid"), exampleID)
	transactionParam = openapi.PathParam("transactionId", "The id of the transaction, from a receipt",
		openapi.Formatted("uuid"), exampleID)
)

// Parameters in the query.
var (
	limitParam = openapi.QueryParam("limit", "The maximum number of results",
		openapi.Integer(1, maxLimit, defaultLimit))
	beforeParam = openapi.QueryParam("before", "The cursor from next of the previous page",
		openapi.Text(""))
	reasonParam = openapi.QueryParam("reason", "Only entries with this reason. "+
		"A page may have fewer entries than limit and still have a next page",
		openapi.Text(reasonPattern))
	fromParam = openapi.QueryParam("from", "Only entries that were made at this time or later",
		openapi.Formatted("date-time"))
	toParam = openapi.QueryParam("to", "Only entries that were made before this time",
		openapi.Formatted("date-time"))
	asOfParam = openapi.QueryParam("asOf", "The balance includes all changes up to and including this millisecond. "+
		"The default is the last commit",
		openapi.Formatted("date-time"))
	afterParam = openapi.QueryParam("after", "Only events with a greater seq",
		openapi.Integer(0, 9007199254740991, 0))
	statusParam = openapi.QueryParam("status", "Only escrows with this status. "+
		"A page may have fewer escrows than limit and still have a next page",
		statusSchema)
)

// Headers of a request.
var (
	keyParam       = idempotencyKeyParam()
	requestIDParam = openapi.HeaderParam("X-Request-Id", "Stored with the ledger entries as requestId "+
		"and returned in the answer. The core generates one if it is absent",
		openapi.Bounded(255))
	traceParam = openapi.HeaderParam("traceparent", "W3C trace context. It becomes the correlationId if the body has none",
		openapi.Bounded(255))
)

func idempotencyKeyParam() param {
	p := openapi.HeaderParam("Idempotency-Key", "The key of this request: 1 to 255 visible ASCII characters. "+
		"Keys are scoped per operation. "+
		"The same key with the same request returns the first answer again and changes nothing.",
		openapi.Text(`^[!-~]{1,255}$`))
	p.Required = true
	p.Example = "order-4711-hold"
	return p
}
