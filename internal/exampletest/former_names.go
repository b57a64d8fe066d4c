package exampletest

// The former names of these functions, until the tests of the examples use the new ones.
var (
	Until = WaitUntil
	While = RunDuring
)

// Settled is the former name of WaitAcknowledged.
func (s *Streams) Settled() { s.WaitAcknowledged() }

// Read is the former name of CountRead.
func (s *Streams) Read() int64 { return s.CountRead() }
