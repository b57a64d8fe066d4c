// Package coreapi is the core's HTTP API.
//
// Huma describes the operations (OpenAPI 3.1, generated from the Go types below)
// and puts them on the standard ServeMux. Requests are read by this package
// itself, not by huma's binding: bodies are decoded strictly and once, every
// mistake is a 400 with JSON pointers, and a hold costs few allocations.
//
// The order of checks is: 401, 403, then 400 and 413, then what the ledger says.
// errors.go holds the one table from errors to statuses.
package coreapi
