package bus

// Status is the result of publishing an event or an account update.
type Status uint8

// The values are those of the Lua scripts.
const (
	// Unknown means that Redis did not answer. The events may be published or not.
	Unknown Status = iota
	// Published means that the events were added now.
	Published
	// Duplicate means that Redis has the events already. Nothing was added.
	Duplicate
	// Gap means that Redis lacks the account's previous update. Nothing was added.
	Gap
	// PartlyPublished means that Redis has only some deliveries of the update. No publisher causes
	// this: something else wrote the hash, or the ledger and Redis have different histories.
	// Nothing was added.
	PartlyPublished
	// Unwritable means that the account's balance key is not a hash, or that the update is empty,
	// not numbered consecutively or has a payload with a line break. Nothing was added.
	Unwritable
	// Forked means that Redis has another history of the account: the chain of its newest event
	// differs from the chain of the update at that seq. Nothing was added.
	Forked
)
