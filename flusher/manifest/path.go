package manifest

import (
	"strconv"
	"strings"

	"kalamlog.dev/kalam/log"
	"kalamlog.dev/kalam/materializer"
)

// DataFolder is where all data files lie below the data directory.
const DataFolder = "data"

// Folder returns where a flush of t puts its files: data/<namespace>.<table>-<id>/<flush>-<job>. The ids make it unique; the names, cut and reduced to
// letters, digits and _, are for humans.
func Folder(t *materializer.Table, flush int64, job string) string {
	return DataFolder + "/" + plainName(t.Namespace) + "." + plainName(t.Name) + "-" + strconv.FormatUint(uint64(t.ID), 10) +
		"/" + strconv.FormatInt(flush, 10) + "-" + job
}

func plainName(s string) string {
	plain := strings.Map(func(r rune) rune {
		if r|0x20 >= 'a' && r|0x20 <= 'z' || r >= '0' && r <= '9' {
			return r
		}
		return '_'
	}, s)
	return plain[:min(len(plain), 48)]
}

// ParsePath returns the table and the flush that Folder made the folder of a path for, zeros if it did not. The first release had no job in it.
func ParsePath(path string) (log.TableID, int64) {
	parts := strings.Split(path, "/")
	if len(parts) < 3 || parts[0] != DataFolder {
		return 0, 0
	}
	id, err := strconv.ParseUint(parts[1][strings.LastIndexByte(parts[1], '-')+1:], 10, 32)
	number, _, _ := strings.Cut(parts[2], "-")
	flush, ferr := strconv.ParseInt(number, 10, 64)
	if err != nil || ferr != nil {
		return 0, 0
	}
	return log.TableID(id), flush
}
