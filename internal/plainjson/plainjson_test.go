package plainjson_test

import (
	"encoding/json"
	"reflect"
	"testing"

	jsonv2 "github.com/go-json-experiment/json"

	"github.com/redroomrewards/realtime/internal/plainjson"
)

// sample has a member of each kind.
type sample struct {
	Text  string   `json:"text"`
	Texts []string `json:"texts"`
	Whole int64    `json:"whole"`
	Bool  bool     `json:"bool"`
}

// read reads a sample. Members with other names are skipped.
func read(data []byte) (v sample, ok bool) {
	s := plainjson.Scanner{Rest: data}
	s.Open('{')
	for n := 0; s.More(n, '}'); n++ {
		switch string(s.Name()) {
		case "text":
			v.Text = string(s.Text())
		case "texts":
			v.Texts = s.Texts()
		case "whole":
			v.Whole = s.Whole()
		case "bool":
			v.Bool = s.Bool()
		default:
			s.Skip()
		}
	}
	return v, s.End()
}

var plain = []string{
	`{}`, ` { } `, `{"text":"a b~"}`, `{"text":""}`, `{"texts":[]}`, `{"texts":["a"]}`, "{\t\"texts\" :\r\n[ \"a\" , \"b\" ] }\n",
	`{"whole":0}`, `{"whole":999999999999999}`, `{"whole": 7 ,"bool":true}`, `{"bool":false}`,
	`{"other":[1,true,"x",false]}`, `{"other":1,"text":"x"}`, `{"other":[]}`,
}

var notPlain = []string{
	``, ` `, `[]`, `{`, `}`, `{]`, `{"text"}`, `{"text":}`, `{"text":"a}`, `{"text":"a"`, `{"text":"a",}`, `{,"text":"a"}`, `{"text":"a" "whole":1}`,
	`{"text":"\u0041"}`, `{"text":"é"}`, "{\"text\":\"\x00\"}", "{\"text\":\"\xff\"}", `{"text":null}`, `{"text":1}`, `{"text":"a"} x`, `{}{}`,
	`{"whole":01}`, `{"whole":-1}`, `{"whole":1.0}`, `{"whole":1e3}`, `{"whole":1000000000000000}`, `{"whole":""}`, `{"whole":}`, `{"whole":1 2}`, `{"whole":0x1}`,
	`{"bool":tru}`, `{"bool":trueish}`, `{"bool":1}`, `{"bool":}`, `{"texts":["a",]}`, `{"texts":[,]}`, `{"texts":["a" "b"]}`, `{"texts":"a"}`, `{"texts":[1]}`,
	`{"other":{}}`, `{"other":[[]]}`, `{"other":null}`, `{"other":[1,]}`, `{"other":tr}`, `{"other"`, `{"other":`, `{'text':"a"}`,
}

func TestPlain(t *testing.T) {
	for _, in := range plain {
		got, ok := read([]byte(in))
		var want sample
		if err := json.Unmarshal([]byte(in), &want); err != nil {
			t.Fatal(err)
		}
		if !ok || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %+v, %v", in, got, ok)
		}
	}
	for _, in := range notPlain {
		if got, ok := read([]byte(in)); ok {
			t.Errorf("%s was taken as %+v", in, got)
		}
	}
}

// What is accepted means the same to a reader that knows all of JSON, and to a strict
// one unless a name occurs twice.
func FuzzPlain(f *testing.F) {
	for _, in := range append(plain, notPlain...) {
		f.Add([]byte(in))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		got, ok := read(data)
		if !ok {
			return
		}
		var names map[string]json.RawMessage
		if err := json.Unmarshal(data, &names); err != nil {
			t.Fatalf("accepted %q: %v", data, err)
		}
		var want, strict sample
		if err := json.Unmarshal(exactly(t, names), &want); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%q is %+v, was read as %+v: %v", data, want, got, err)
		}
		if err := jsonv2.Unmarshal(data, &strict); err == nil && !reflect.DeepEqual(got, strict) {
			t.Errorf("%q is %+v, was read as %+v", data, strict, got)
		}
	})
}

// exactly drops names that only encoding/json, which ignores case, would take for
// those of a sample.
func exactly(t *testing.T, names map[string]json.RawMessage) []byte {
	t.Helper()
	for name := range names {
		switch name {
		case "text", "texts", "whole", "bool":
		default:
			delete(names, name)
		}
	}
	data, err := json.Marshal(names)
	if err != nil {
		t.Fatal(err)
	}
	return data
}
