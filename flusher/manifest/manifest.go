package manifest

import (
	"github.com/RoaringBitmap/roaring/v2/roaring64"

	"kalamlog.dev/kalam/log"
	"kalamlog.dev/kalam/materializer"
)

// Manifest is what is flushed of one table at one position. Changes below Flushed[p] are in Files, each in exactly one; the rest is in the log.
type Manifest struct {
	Table      log.TableID
	Flush      int64 // number of the last committed flush, 0 before the first; with Table it identifies the content
	Files      []File
	Flushed    map[log.PartitionID]log.Offset
	Superseded map[log.PartitionID]*roaring64.Bitmap // flushed offsets that are no current row: replaced or deleted by a flushed change, or themselves deletes; absent if none
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
}

// Range is [First, Last], both included.
type Range struct {
	First log.Offset `json:"first"`
	Last  log.Offset `json:"last"`
}

// Read loads t's manifest from a view.
func Read(v *materializer.View, t *materializer.Table) (*Manifest, error) { panic("todo") }

// Version reads only the number of the last committed flush, cheaply, to see whether a manifest read before still holds.
func Version(v *materializer.View, t *materializer.Table) (int64, error) { panic("todo") }
