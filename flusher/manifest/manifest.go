package manifest

import (
	"encoding/json"
	"fmt"

	"github.com/RoaringBitmap/roaring/v2/roaring64"

	"kalamlog.dev/kalam/log"
	"kalamlog.dev/kalam/materializer"
	"kalamlog.dev/kalam/materializer/storage"
	"kalamlog.dev/kalam/query/expr"
)

// Manifest is what is flushed of one table at one position. Changes below Flushed[p] are in Files, each in exactly one, but for those of a stream that
// have expired; the rest is in the log.
type Manifest struct {
	Table      log.TableID
	Flush      int64 // number of the last committed flush, 0 before the first; with Table it identifies the content
	Files      []File
	Flushed    map[log.PartitionID]log.Offset
	Superseded map[log.PartitionID]*roaring64.Bitmap // offsets that are no current row: replaced or deleted by a later change, or themselves deletes; absent if none. All such among the flushed offsets, as far as flushed changes have made them so.
}

// File is one Parquet data file. Its columns are the table's, by name and with Parquet field ids = column ids, and _partition INTEGER, _offset BIGINT, _timestamp TIMESTAMPTZ,
// _op TEXT (insert, update, delete), _previous BIGINT (offset of the key's previous change or NULL). A delete carries its key columns, the rest NULL.
type File struct {
	Path     string // relative to the data directory, with forward slashes
	Shard    string
	Strategy string
	Flush    int64
	Schema   uint32 // schema version it was written with
	Rows     int64
	Bytes    int64
	Checksum []byte // SHA-256 of the file
	Offsets  map[log.PartitionID]Range
	Created  int64 // microseconds: when its flush was committed, after all of its changes
}

// Range is [First, Last], both included.
type Range struct {
	First log.Offset `json:"first"`
	Last  log.Offset `json:"last"`
}

// The columns of system.data_files, system.flushed and system.superseded, whose first column is the table's id.
const (
	filePath = iota + 1
	fileShard
	fileStrategy
	fileFlush
	fileSchema
	fileRows
	fileBytes
	fileChecksum
	fileOffsets
	fileCreated
)

const (
	flushedPartition = iota + 1
	flushedEnd
	flushedFlush
)

const (
	supersededPartition = iota + 1
	supersededChunk
	supersededBitmap
)

// Read loads t's manifest from a view.
func Read(v *materializer.View, t *materializer.Table) (*Manifest, error) {
	m := &Manifest{Table: t.ID, Flushed: map[log.PartitionID]log.Offset{}}
	err := scan(v, materializer.SystemFlushed, t.ID, func(r materializer.KeyedRow) error {
		m.Flushed[log.PartitionID(r.Row.Column(flushedPartition).Int())] = log.Offset(r.Row.Column(flushedEnd).Int())
		m.Flush = r.Row.Column(flushedFlush).Int()
		return nil
	})
	if err != nil || m.Flush == 0 {
		return m, err
	}
	if m.Files, err = Files(v, t.ID); err != nil {
		return nil, err
	}
	m.Superseded, err = readSuperseded(v, t.ID)
	return m, err
}

// Files lists the files named for a table, by path. The table may have been dropped.
func Files(v *materializer.View, t log.TableID) ([]File, error) {
	var files []File
	err := scan(v, materializer.SystemDataFiles, t, func(r materializer.KeyedRow) error {
		f, err := decodeFile(r.Row)
		files = append(files, f)
		return err
	})
	return files, err
}

// Version reads only the number of the last committed flush, cheaply, to see whether a manifest read before still holds.
func Version(v *materializer.View, t log.TableID) (int64, error) {
	row, err := current(v, materializer.SystemFlushed, bigint(int64(t)), integer(0))
	if err != nil || row == nil {
		return 0, err
	}
	return row.Row.Column(flushedFlush).Int(), nil
}

// Ends reads only up to where each partition is flushed.
func Ends(v *materializer.View, t *materializer.Table) (map[log.PartitionID]log.Offset, error) {
	ends := map[log.PartitionID]log.Offset{}
	err := scan(v, materializer.SystemFlushed, t.ID, func(r materializer.KeyedRow) error {
		ends[log.PartitionID(r.Row.Column(flushedPartition).Int())] = log.Offset(r.Row.Column(flushedEnd).Int())
		return nil
	})
	return ends, err
}

// scan calls each for the rows of a system table whose first key column is t.
func scan(v *materializer.View, system, t log.TableID, each func(materializer.KeyedRow) error) error {
	table := v.Catalog().TableByID(system)
	prefix, err := materializer.EncodeKey(nil, []expr.Value{bigint(int64(t))})
	if err != nil {
		return fmt.Errorf("encode key of %s: %w", table.QualifiedName(), err)
	}
	end, err := materializer.EncodeKey(nil, []expr.Value{bigint(int64(t) + 1)})
	if err != nil {
		return fmt.Errorf("encode key of %s: %w", table.QualifiedName(), err)
	}
	return scanRange(v, system, storage.Range{Start: prefix, End: end}, each)
}

func scanRange(v *materializer.View, system log.TableID, keys storage.Range, each func(materializer.KeyedRow) error) error {
	table := v.Catalog().TableByID(system)
	for r, err := range v.Scan(table, 0, keys) {
		if err == nil {
			err = each(r)
		}
		if err != nil {
			return fmt.Errorf("read %s: %w", table.QualifiedName(), err)
		}
	}
	return nil
}

func decodeFile(r materializer.Row) (File, error) {
	f := File{
		Path: own(r, filePath), Shard: own(r, fileShard), Strategy: own(r, fileStrategy),
		Flush: r.Column(fileFlush).Int(), Schema: uint32(r.Column(fileSchema).Int()),
		Rows: r.Column(fileRows).Int(), Bytes: r.Column(fileBytes).Int(), Checksum: []byte(r.Column(fileChecksum).Str()),
		Created: r.Column(fileCreated).Int(),
	}
	if err := json.Unmarshal([]byte(r.Column(fileOffsets).Str()), &f.Offsets); err != nil {
		return File{}, fmt.Errorf("offsets of %s: %w", f.Path, err)
	}
	return f, nil
}

// own copies a text out of the row, whose memory is only lent.
func own(r materializer.Row, column int) string { return string([]byte(r.Column(column).Str())) }

func bigint(i int64) expr.Value  { return expr.IntOf(expr.BigInt, i) }
func integer(i int64) expr.Value { return expr.IntOf(expr.Integer, i) }

// AllPaths returns the paths of all data files that any manifest names.
func AllPaths(v *materializer.View) (map[string]struct{}, error) {
	paths := map[string]struct{}{}
	err := scanRange(v, materializer.SystemDataFiles, storage.Range{}, func(r materializer.KeyedRow) error {
		paths[own(r.Row, filePath)] = struct{}{}
		return nil
	})
	return paths, err
}

// Tables returns the ids of the tables that have a manifest, ascending, dropped ones too.
func Tables(v *materializer.View) ([]log.TableID, error) {
	var ids []log.TableID
	err := scanRange(v, materializer.SystemFlushed, storage.Range{}, func(r materializer.KeyedRow) error {
		if id := log.TableID(r.Row.Column(0).Int()); len(ids) == 0 || ids[len(ids)-1] != id {
			ids = append(ids, id)
		}
		return nil
	})
	return ids, err
}
