// Package coreapi is the core's HTTP API.
//
// Each call has a file with its handler. A handler has the same steps in the same order:
// authenticate, decode, validate, call the ledger, encode. The ledger validates operations
// (wallet.Op.Validate, in Ledger.Do), and the handler validates queries. The file also has the types
// of the body and the answer, and the call's description for the OpenAPI document.
//
//   - Operations: credit.go, debit.go, hold.go, settle.go, refund.go, partial_settle.go, batch.go.
//   - Queries: balance.go, entries.go, events.go, all_events.go, escrows.go, escrow.go,
//     transaction.go.
//   - Shared by handlers: call.go (one request), authenticate.go, request.go (headers, path,
//     query), decode.go (bodies), receipt.go and encode.go (answers), errors.go, trace.go,
//     metrics.go.
//   - Bounds: read_queue.go (reads that run), transfers.go (bytes in memory), buffers.go.
//   - The document: openapi.go, openapi_parameters.go, batch_openapi.go, docs.go. For web pages:
//     cors.go.
//   - errors.go has the only table from errors to statuses and codes.
//
// huma generates the OpenAPI document from the Go types. It does not read requests. Bodies are
// decoded strictly, and each malformed field is answered with 400 and a JSON pointer.
//
// Requests are checked in this order: 401, 403, then 400 and 413, then the rules of the ledger.
//
// read_queue.go bounds the queries that run at the same time and shares them fairly between the
// readers. Writes are not in this queue.
//
// If the client of a query disconnects, the query is cancelled. An operation is not cancelled: once
// the ledger has it, it completes, and a retry with the same Idempotency-Key returns its result.
package coreapi
