package streamtest

// The former names of these functions, until the tests of pkg/bus use the new ones.
var (
	Stream       = ListStreamSeqs
	Quiet        = DiscardLogger
	UpTo         = SeqRange
	BenchGroups  = NewBenchPublications
	RedisCPU     = ReadRedisCPU
	ClusterOfOne = StartClusterOfOne
	MetricSum    = SumMetric
)

// All is the former name of AllSeqs.
func (f *Follower) All(account string) []int64 { return f.AllSeqs(account) }
