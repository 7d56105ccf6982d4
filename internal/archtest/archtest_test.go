package archtest

import (
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const module = "kalamlog.dev/kalam/"

// mayImport lists for each package, by the longest matching prefix, which packages of this module its non-test files may import.
// A package may always import its own layer, what lies below it (a/b for a), and the packages of everyone.
var mayImport = map[string][]string{
	"internal/problem":  nil,
	"internal/identity": nil,
	"internal/clock":    nil,
	"internal/suggest":  nil,
	"internal/size":     nil,
	"query/expr":        nil,
	"internal/peer":     nil,
	"log":               {"internal/peer"},
	"materializer":      {"log", "query/expr"},
	"flusher/manifest":  {"materializer", "log", "query/expr"},
	"flusher/shard":     nil,
	"flusher/objstore":  nil,
	"flusher":           {"materializer", "log", "query/expr"},
	"query/parse":       {"query/expr"},
	"query/duck":        {"materializer", "log", "query/expr", "flusher/manifest"},
	"query":             {"materializer", "log", "flusher/manifest"},
	"subscribe":         {"query/parse", "query/expr", "materializer", "log"},
	"api/wire":          nil,
	"api/kafka":         {"materializer", "log", "query/expr"},
	"api/cluster":       {"api/wire", "api/kafka", "internal/peer", "flusher/manifest", "flusher/objstore", "materializer", "log", "query/expr"},
	"api/backup":        {"api/wire", "flusher/manifest", "flusher/objstore", "materializer", "log", "query/expr"},
	"api":               {"subscribe", "query", "query/expr", "materializer", "log"},
	"link":              {"api/wire"},
	"internal/config":   nil,
	"internal/process":  {"api/wire"},
	"internal/dataset":  nil,
	"internal/faultfs":  nil,
	"internal/chaos":    {"internal/faultfs", "internal/process", "api/wire", "log"},
	"internal/archtest": nil,
	"bench":             {"*"},
	"cmd":               {"*"},
}

// everyone are leaves that any package but api/wire and link may use.
var everyone = []string{"internal/problem", "internal/identity", "internal/clock", "internal/suggest", "internal/size"}

func TestImportsPointDown(t *testing.T) {
	root := filepath.Join("..", "..")
	seen := 0
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && path != root && (strings.HasPrefix(d.Name(), ".") || d.Name() == "node_modules" || d.Name() == "testdata") {
			return filepath.SkipDir
		}
		if !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return nil
		}
		rel, err := filepath.Rel(root, filepath.Dir(path))
		if err != nil {
			return err
		}
		seen++
		checkFile(t, filepath.ToSlash(rel), path)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if seen < 50 {
		t.Errorf("only %d files checked: the walk has lost its way", seen)
	}
}

func checkFile(t *testing.T, pkg, path string) {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ImportsOnly)
	if err != nil {
		t.Fatal(err)
	}
	layer, known := layerOf(pkg)
	if !known {
		t.Errorf("package %s has no rule: add it to mayImport", pkg)
		return
	}
	for _, spec := range file.Imports {
		imported, err := strconv.Unquote(spec.Path.Value)
		if err != nil {
			t.Fatal(err)
		}
		if target, ours := strings.CutPrefix(imported, module); ours && !allowed(layer, target) {
			t.Errorf("%s imports %s, which its layer may not", path, target)
		}
		if imported == "log" {
			t.Errorf("%s imports the standard log package; use log/slog", path)
		}
	}
}

// layerOf returns pkg's longest prefix that has a rule.
func layerOf(pkg string) (string, bool) {
	for p := pkg; p != "."; p = filepath.ToSlash(filepath.Dir(p)) {
		if _, ok := mayImport[p]; ok {
			return p, true
		}
	}
	return "", false
}

// allowed reports whether a package of the layer may import target.
func allowed(layer, target string) bool {
	owner, known := layerOf(target)
	switch {
	case !known:
		return false
	case owner == layer, slices.Contains(mayImport[layer], "*"):
		return true
	case slices.Contains(everyone, owner):
		return layer != "api/wire" && layer != "link"
	case strings.HasPrefix(owner, layer+"/"):
		return true
	}
	return slices.Contains(mayImport[layer], owner)
}

func TestRules(t *testing.T) {
	for _, c := range []struct {
		pkg, target string
		want        bool
	}{
		{"materializer", "log", true},
		{"materializer", "query/expr", true},
		{"materializer/storage/pebble", "materializer/storage", true},
		{"log", "materializer", false},
		{"materializer", "query", false},
		{"query/expr", "materializer", false},
		{"query/expr", "internal/problem", true},
		{"link", "api/wire", true},
		{"link", "log", false},
		{"subscribe", "query", false},
		{"subscribe", "query/parse", true},
		{"flusher", "query", false},
		{"api/kafka", "query", false},
		{"cmd/kalam", "api", true},
	} {
		layer, known := layerOf(c.pkg)
		if !known {
			t.Fatalf("no rule for %s", c.pkg)
		}
		if got := allowed(layer, c.target); got != c.want {
			t.Errorf("%s imports %s: allowed = %v, want %v", c.pkg, c.target, got, c.want)
		}
	}
}
