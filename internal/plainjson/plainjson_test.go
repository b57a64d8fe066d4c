package plainjson_test

import (
	"testing"

	"github.com/redroomrewards/realtime/internal/plainjson"
)

func TestMarshal(t *testing.T) {
	got, err := plainjson.Marshal(map[string]string{"a": "<b> & c"})
	if want := `{"a":"<b> & c"}`; err != nil || string(got) != want {
		t.Errorf("got %s %v, want %s", got, err, want)
	}
	if got, err := plainjson.Marshal(func() {}); err == nil {
		t.Errorf("a function became %s", got)
	}
}
