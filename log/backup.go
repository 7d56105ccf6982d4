package log

import (
	"bufio"
	"bytes"
	"io"
)

// Run is changes of a partition that are saved as a whole.
type Run struct {
	Partition Partition
	From, To  Offset // those from From to before To
	Bytes     int64  // about how much it takes, 0 if that is not known
}

// Hold keeps every segment on disk until release is called, once. Whoever holds may read what was kept then, even what has been deleted since.
func (l *Log) Hold() (release func()) {
	l.replica.drops.hold()
	return l.replica.drops.release
}

// Runs cuts the changes of p from from to before to at the ends of segments. The caller holds.
func (l *Log) Runs(p Partition, from, to Offset) ([]Run, error) {
	if from >= to {
		return nil, nil
	}
	infos, err := l.Segments(p)
	if err != nil {
		return nil, err
	}
	var runs []Run
	for _, info := range infos {
		if from < info.End && info.End < to {
			runs = append(runs, Run{Partition: p, From: from, To: info.End, Bytes: info.Bytes})
			from = info.End
		}
	}
	return append(runs, Run{Partition: p, From: from, To: to}), nil
}

// SaveRun writes r as a partition of a snapshot stream: see FORMAT.md. It begins with the frame that holds r.From, and ends at r.To, which is the end of
// an entry. The same run is always the same bytes. The caller holds.
func (l *Log) SaveRun(w io.Writer, r Run, stop <-chan struct{}) error {
	out := bufio.NewWriterSize(w, scanChunk)
	if err := l.store.savePartition(out, partitionRange{id: r.Partition, start: r.From, end: r.To}, stop); err != nil {
		return err
	}
	return out.Flush()
}

// SnapshotStream returns the stream that a restore reads: runs, each as SaveRun wrote it, those of a partition in order, then the Fold's stream.
func SnapshotStream(runs, fold io.Reader) io.Reader {
	return io.MultiReader(bytes.NewReader([]byte{snapshotVersion}), runs, bytes.NewReader([]byte{0}), fold)
}
