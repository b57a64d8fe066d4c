package openapitest

import (
	"flag"
	"os"
	"testing"
)

var update = flag.Bool("update", false, "rewrite the documents in docs")

// CheckFile requires that a file has the document that the code generates. With the flag -update it
// writes the file.
func CheckFile(t *testing.T, name string, generate func() ([]byte, error)) {
	t.Helper()
	got, err := generate()
	if err != nil {
		t.Fatal(err)
	}
	if *update {
		err := os.WriteFile(name, got, 0o644)
		if err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != string(want) {
		t.Errorf("%s differs from the generated document; run this test with -update", name)
	}
}

// MustParse compiles the document that the code generates. It panics if that fails.
func MustParse(generate func() ([]byte, error)) *Document {
	text, err := generate()
	if err != nil {
		panic(err)
	}
	document, err := Parse(text)
	if err != nil {
		panic(err)
	}
	return document
}
