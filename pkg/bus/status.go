package bus

// Status is what became of a publication.
type Status uint8

const (
	// Unknown: Redis gave no answer for the group; it may or may not be published.
	Unknown Status = iota
	// Published: the group was added now.
	Published
	// Duplicate: Redis has the group already; nothing was added.
	Duplicate
	// Gap: the group's predecessor is missing in Redis; nothing was done.
	Gap
	// PartlyPublished: Redis has some of the group's deliveries and lacks others, which
	// no publisher can bring about: somebody wrote the hash, or the ledger has
	// another history than Redis. Nothing was done.
	PartlyPublished
	// Unwritable: the account's hash is no hash, or the group is empty or not
	// numbered 1, 2, 3 … Nothing was done.
	Unwritable
)
