package testenv

import "flag"

// SetParallel sets the default of go test's -parallel, for packages whose tests wait most of the time
// and need few processors. Call it in TestMain.
func SetParallel(tests string) {
	flag.Parse()
	parallel := flag.Lookup("test.parallel")
	if parallel.Value.String() == parallel.DefValue {
		_ = flag.Set(parallel.Name, tests) // the flag exists
	}
}
