package manifest

import (
	"testing"

	"kalamlog.dev/kalam/log"
	"kalamlog.dev/kalam/materializer"
)

func TestPaths(t *testing.T) {
	t.Parallel()
	folder := Folder(&materializer.Table{ID: 1007, Namespace: "my app", Name: "été-2"}, 12, "01a2-b3")
	if want := "data/my_app._t__2-1007/12-01a2-b3"; folder != want {
		t.Errorf("the folder is %s, want %s", folder, want)
	}
	for path, want := range map[string]struct {
		table log.TableID
		flush int64
	}{
		folder + "/a.parquet":           {1007, 12},
		"data/app.t-1000/3/a.parquet":   {1000, 3},
		"data/app.t-x/3/a.parquet":      {},
		"data/app.t-1000/y-3/a.parquet": {},
		"data/app.t-1000":               {},
		"other/app.t-1000/3/a.parquet":  {},
		"":                              {},
	} {
		if table, flush := ParsePath(path); table != want.table || flush != want.flush {
			t.Errorf("%q belongs to table %d, flush %d", path, table, flush)
		}
	}
}
