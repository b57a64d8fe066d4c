package archtest

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

const root = "../.."

// maxWalkFiles bounds the files that a hold passes.
const maxWalkFiles = 35

// stepRow is a row of the table "One hold, step by step".
var stepRow = regexp.MustCompile("(?m)^\\|[^|]*\\|[^|]*\\| `([^`]+\\.go)` \\| `([^`]+)` \\|$")

// Each function that the walk names exists in its file.
func TestFunctionsOfWalkExist(t *testing.T) {
	page, err := os.ReadFile(filepath.Join(root, "ARCHITECTURE.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, rest, found := strings.Cut(string(page), "<!-- walk -->")
	table, _, closed := strings.Cut(rest, "<!-- /walk -->")
	if !found || !closed {
		t.Fatal("ARCHITECTURE.md: got no walk")
	}
	rows := stepRow.FindAllStringSubmatch(table, -1)
	want := strings.Count(table, ".go`")
	if len(rows) != want {
		t.Errorf("steps that can be parsed: got %d, want %d", len(rows), want)
	}
	if want < 20 {
		t.Errorf("steps: got %d, want at least 20", want)
	}
	files := map[string]bool{}
	for _, row := range rows {
		file := row[1]
		function := row[2]
		files[file] = true
		if !declaresFunction(t, filepath.Join(root, file), function) {
			t.Errorf("%s: got no function %s", file, function)
		}
	}
	if len(files) > maxWalkFiles {
		t.Errorf("files that a hold passes: got %d, want at most %d", len(files), maxWalkFiles)
	}
}

// The table of packages names each package of the module.
func TestMapNamesEachPackage(t *testing.T) {
	page, err := os.ReadFile(filepath.Join(root, "ARCHITECTURE.md"))
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range listPackages(t) {
		path := strings.TrimPrefix(p.ImportPath, module+"/")
		name := path[strings.LastIndexByte(path, '/')+1:]
		isNamed := strings.Contains(string(page), "`"+path+"`") || strings.Contains(string(page), "`"+name+"`")
		if !isNamed && !strings.HasPrefix(path, "examples/") {
			t.Errorf("ARCHITECTURE.md: got no entry of %s", path)
		}
	}
}

// declaresFunction reports whether the file declares the function. Methods are written Type.Method.
func declaresFunction(t *testing.T, path, name string) bool {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
	if err != nil {
		t.Error(err)
		return false
	}
	for _, d := range file.Decls {
		f, ok := d.(*ast.FuncDecl)
		if ok && functionName(f) == name {
			return true
		}
	}
	return false
}

func functionName(f *ast.FuncDecl) string {
	if f.Recv == nil {
		return f.Name.Name
	}
	receiver := f.Recv.List[0].Type
	star, ok := receiver.(*ast.StarExpr)
	if ok {
		receiver = star.X
	}
	ident, ok := receiver.(*ast.Ident)
	if ok {
		return ident.Name + "." + f.Name.Name
	}
	return f.Name.Name
}
